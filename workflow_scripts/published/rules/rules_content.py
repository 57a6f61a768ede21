"""Rules about repeated content: files for the same checkpoint, identical results of different checkpoints."""

import re
from collections.abc import Iterator, Sequence

from workflow_scripts.published.rules.findings import (
    COPY,
    SAME_AS_OTHER_DATA,
    SAME_AS_STEP_0,
    SUPERSEDED,
    Defect,
    Result,
    grouped,
    note_all,
)

TIMESTAMP = re.compile(r"(\d\d)-(\d\d)-(\d{4})-(\d\d)-(\d\d)-(\d\d)")
ISO_TIMESTAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)")  # lm-eval 0.4
SAME_WEIGHTS = (0, 1)  # the two data sets start from the same weights, and the first update has a rate of almost 0


def copies(results: Sequence[Result]) -> Iterator[Defect]:
    """Files with equal bytes, as older layouts keep them in several folders: the first path counts."""
    by_hash = grouped([r for r in results if r.sha256], lambda r: r.sha256)
    again = [r for members in by_hash.values() for r in members if r.source_file != members[0].source_file]
    note_all(again, COPY)
    folders = grouped(again, lambda r: (by_hash[r.sha256][0].folder, r.folder))
    for (first, folder), members in folders.items():
        files = len({r.source_file for r in members})
        yield Defect(
            "copies",
            f"{folder}: {files} files have the bytes of files in {first}",
            f"e.g. {members[0].source_file}, sha256 {members[0].sha256[:12]}",
            files,
            "first kept, copies dropped from curves",
        )


def duplicates(results: Sequence[Result]) -> Iterator[Defect]:
    """Files of one folder for the same checkpoint and tasks: the newest timestamp wins."""

    def key(result: Result) -> tuple[object, ...]:
        return result.folder, result.identity, result.tasks, result.content.harness

    for members in grouped([r for r in results if COPY not in r.notes], key).values():
        if len(members) < 2:
            continue
        *older, newest = sorted(members, key=lambda r: timestamp(r.source_file))
        note_all(older, SUPERSEDED)
        equal = all(r.fingerprint() == newest.fingerprint() for r in older)
        yield Defect(
            "duplicate-files",
            f"{newest.folder}: {len(members)} files for step {newest.identity.step}",
            f"their results are {'equal' if equal else 'different'}; newest is {newest.source_file.rpartition('/')[2]}",
            len(older),
            "newest kept, older ones dropped from curves",
        )


def timestamp(name: str) -> tuple[str, ...]:
    """Sortable timestamp in a file name, year first; empty where there is none.

    >>> timestamp("a_eval_results_01-20-2023-15-58-23.json"), timestamp("results_2026-11-24T08-45-28.584636.json")
    (('2023', '01', '20', '15', '58', '23'), ('2026', '11', '24', '08', '45', '28'))
    """
    iso = ISO_TIMESTAMP.search(name)
    if iso:
        return iso.groups()
    match = TIMESTAMP.search(name)
    if not match:
        return ()
    month, day, year, *clock = match.groups()
    return (year, month, day, *clock)


def identical_across_data(results: Sequence[Result]) -> Iterator[Defect]:
    """Standard and deduplicated models with identical results although they saw different data."""
    by_content = grouped(
        [r for r in results if r.identity.step not in SAME_WEIGHTS], lambda r: (r.fingerprint(), r.identity.step)
    )
    pairs = [members for members in by_content.values() if len({r.identity.data for r in members}) > 1]
    for (size, shots), members in grouped(
        [r for pair in pairs for r in pair], lambda r: (r.identity.size, r.identity.shots)
    ).items():
        note_all(members, SAME_AS_OTHER_DATA)
        steps = sorted({r.identity.step or 0 for r in members})
        yield Defect(
            "identical-across-data",
            f"{size} standard and deduplicated: identical {shots}-shot results at {len(steps)} steps",
            f"steps {', '.join(str(step) for step in steps)}; every number agrees to the last digit",
            len(members),
            "kept and marked: one of each pair is of the wrong model, which one cannot be told",
        )


def identical_to_step_0(results: Sequence[Result]) -> Iterator[Defect]:
    """Step 1 equals step 0: the first step of the schedule has a learning rate of almost 0."""
    first = {(r.identity.model, r.identity.shots): r.fingerprint() for r in results if r.identity.step == 0}
    same = [
        r
        for r in results
        if r.identity.step == 1 and first.get((r.identity.model, r.identity.shots)) == r.fingerprint()
    ]
    if same:
        note_all(same, SAME_AS_STEP_0)
        yield Defect(
            "identical-to-step-0",
            f"steps 0 and 1 give identical results for {len(same)} models",
            "the learning rate of the first step is 0 under GPT-NeoX v1.0's warm-up",
            len(same),
            "expected; noted",
        )


def equal_results(results: Sequence[Result]) -> Iterator[Defect]:
    """Groups of files with equal results, for whatever reason."""
    groups = [g for g in grouped(results, lambda r: r.fingerprint()).values() if len({r.source_file for r in g}) > 1]
    if groups:
        yield Defect(
            "equal-results",
            f"{len(groups)} groups of files hold equal results",
            f"sizes of the groups {sorted({len(group) for group in groups})}; the other rules say which are legitimate",
            sum(len(group) for group in groups),
            "noted",
        )
