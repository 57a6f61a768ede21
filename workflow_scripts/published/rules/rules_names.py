"""Rules about names: where a folder, a file name or a path says something else than the content."""

from collections.abc import Iterator, Sequence

from workflow_scripts.published.claims import SHOTS, SIZE, sizes_today
from workflow_scripts.published.rules.findings import (
    DOUBLED_STEP,
    MISNAMED,
    OTHER_DATA_PATH,
    RELABELLED,
    Defect,
    Result,
    grouped,
    note_all,
)

ACCURACIES = ("acc", "acc_norm")


def five_shot_that_is_zero_shot(results: Sequence[Result]) -> Iterator[Defect]:
    """Folders called five-shot whose files say ``num_fewshot: 0``, compared with the true zero-shot files."""
    wrong = [r for r in results if r.named.shots == 5 and r.content.claim.shots == 0]
    right = {r.identity: r for r in results if r.named.shots == 0 and r.content.claim.shots == 0}
    for folder, members in grouped(wrong, lambda r: r.folder).items():
        note_all(members, RELABELLED)
        twins = [(member, right[member.identity]) for member in members if member.identity in right]
        equal, common = (
            (sum(counts) for counts in zip(*(equal_accuracies(*twin) for twin in twins), strict=True))
            if twins
            else (0, 0)
        )
        yield Defect(
            "five-shot-that-is-zero-shot",
            f"{folder}: named five-shot, but config.num_fewshot is 0",
            f"{equal} of {common} accuracies equal those of the zero-shot files of the same checkpoints",
            len(members),
            "shots set to 0 as the files say; kept in the table, dropped from curves",
        )


def equal_accuracies(first: Result, second: Result) -> tuple[int, int]:
    """How many tasks have equal ``acc`` in both results, and how many both have."""
    ours = {m.task: m.value for m in first.content.measurements if m.metric == "acc"}
    theirs = {m.task: m.value for m in second.content.measurements if m.metric == "acc"}
    common = ours.keys() & theirs.keys()
    return sum(ours[task] == theirs[task] for task in common), len(common)


def misleading_file_names(results: Sequence[Result]) -> Iterator[Defect]:
    """File names that name other shots than the content, or leave out the variant that was evaluated."""
    wrong_shots = [
        r
        for r in results
        if file_name_shots(r) not in (None, r.content.claim.shots) and r.named.shots == r.content.claim.shots
    ]
    for folder, members in grouped(wrong_shots, lambda r: r.folder).items():
        note_all(members, MISNAMED)
        yield Defect(
            "misleading-file-name",
            f"{folder}: file names say {file_name_shots(members[0])}-shot, "
            f"config.num_fewshot is {members[0].content.claim.shots}",
            ", ".join(r.source_file.rpartition("/")[2] for r in members),
            len(members),
            "content believed",
        )
    unnamed = [
        r
        for r in results
        if "bf16" in str(r.content.facts.get("pretrained")) and "bf16" not in r.source_file.rpartition("/")[2]
    ]
    for folder, members in grouped(unnamed, lambda r: r.folder).items():
        note_all(members, MISNAMED)
        yield Defect(
            "misleading-file-name",
            f"{folder}: files are named like the 16-bit float model but evaluate its bfloat16 twin",
            f"model_args say {members[0].content.facts['pretrained']}",
            len(members),
            "content believed; this is today's pythia-1b",
        )


def file_name_shots(result: Result) -> int | None:
    """Shots that the file name alone states."""
    name = result.source_file.rpartition("/")[2].replace("_", "-")
    return next((shots for pattern, shots in SHOTS if pattern.search(name)), None)


def size_vocabularies(results: Sequence[Result]) -> Iterator[Defect]:
    """Paths that use size names of before January 2023, or capital letters."""
    old = [r for r in results if any(is_old_size(written) for written in SIZE.findall(r.source_file))]
    if old:
        written = sorted({w for r in old for w in SIZE.findall(r.source_file) if is_old_size(w)})
        yield Defect(
            "size-vocabularies",
            "model sizes are written in more than one vocabulary",
            f"besides today's names the paths use {', '.join(written)}",
            len({r.source_file for r in old}),
            "translated to today's names",
        )


def is_old_size(written: str) -> bool:
    """True for a size that is not one of today's names as they are written today."""
    return written.lower() in sizes_today() and sizes_today()[written.lower()] != written


def trainer_steps(results: Sequence[Result]) -> Iterator[Defect]:
    """Steps that count other batches than the Hub's 2M tokens."""
    converted = [
        r
        for r in results
        if r.identity.step is not None and r.identity.step != r.content.claim.raw_step and r.content.claim.raw_step
    ]
    for (version, batch), members in grouped(converted, lambda r: (r.identity.version, r.content.claim.batch)).items():
        note_all(members, DOUBLED_STEP)
        yield Defect(
            "trainer-steps",
            f"{version}: step numbers count batches of {batch}M tokens, not the 2M of the Hub's steps",
            f"sizes {', '.join(sorted({r.identity.size for r in members}))}; "
            f"e.g. {members[-1].content.claim.raw_step} is step {members[-1].identity.step}",
            len({r.source_file for r in members}),
            "converted to the Hub step with the same tokens",
        )


def disagreeing_data_paths(results: Sequence[Result]) -> Iterator[Defect]:
    """NeoX results whose weights come from a deduplicated run while the config lists the standard data."""

    def is_wrong(result: Result) -> bool:
        paths = str(result.content.facts.get("train_data_paths") or "")
        return bool(paths) and result.identity.data == "deduped" and "dedup" not in paths

    for folder, members in grouped([r for r in results if is_wrong(r)], lambda r: r.folder).items():
        note_all(members, OTHER_DATA_PATH)
        yield Defect(
            "disagreeing-data-paths",
            f"{folder}: weights are of a deduplicated run, the config passed to the evaluation lists the standard data",
            f"load {members[0].content.facts['load']}, train_data_paths {members[0].content.facts['train_data_paths']}",
            len(members),
            "data set by the weights",
        )
