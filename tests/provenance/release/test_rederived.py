"""Cheap outputs are made again by programs of a fixed list, in a folder that holds verified files and nothing else."""

import json
import shlex

import pytest

from tests.provenance.release.made_release import write
from workflow_scripts.provenance.release import rederived
from workflow_scripts.provenance.release.manifest import Manifest, Output, SealedFile
from workflow_scripts.provenance.release.rederived import CHEAP, Program, Rederivation, parsed, program, started
from workflow_scripts.provenance.release.release_findings import Part
from workflow_scripts.storage.hashing import sha256_file

TABLE = "results/runs/published/tables/published.parquet"
CARRIED = "config/suites/published/pythia-evals"
LISTS = ("published.files.tsv", "published_refused.tsv", "published_defects.tsv")
COPY = program("made.copy", "source output names", lists="names")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--source a/b --output c", {"--source": ["a/b"], "--output": ["c"]}),
        ("--source=a/b --names x y --output c", {"--source": ["a/b"], "--names": ["x", "y"], "--output": ["c"]}),
        ("--names --output c", {"--names": [], "--output": ["c"]}),
    ],
)
def test_arguments_are_read_by_option(words, found):
    assert parsed(["copy.py", *shlex.split(words)], COPY) == found


@pytest.mark.parametrize(
    "words",
    [
        "--source /etc/passwd", "--source ../x", "--source a/../../x", "--source=/etc/passwd", "--output -x",
        "--other a", "--source a --source b", "a", "-c 'import os'", "--source ''", "--source 'a\nb'", "--source ~/x -",
        "--source a --names x -n", "--source 'a\\b'", "--sour a",
    ],
)  # fmt: skip
def test_other_options_and_other_paths_are_refused(words):
    assert parsed(["copy.py", *shlex.split(words)], COPY) is None


def test_every_cheap_program_is_one_of_this_project_with_the_options_that_are_listed(root):
    """Read off the programs' own text: an option that is gone would make all its outputs unverifiable."""
    for name, allowed in CHEAP.items():
        path = root / f"{allowed.module.replace('.', '/')}.py"
        assert path.name == name
        text = path.read_text()
        inherited = (root / "workflow_scripts/experiments/outputs.py").read_text()
        assert [option for option in allowed.options if f'"{option}"' not in text + inherited] == [], name
        assert "cli.run(main)" in text


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A release with one cheap rule: a program that copies a file, made up for these tests."""
    folder = tmp_path / "release"
    write(folder, "results/scores/a.txt", "scores")
    write(folder, "results/secret.txt", "secret")
    write(folder, "results/tables/b.txt", "scores")
    write(folder, "config/x.yaml", "x: 1\n")
    code = tmp_path / "code" / "made"
    code.mkdir(parents=True)
    (code / "__init__.py").touch()
    (code / "copy.py").write_text(
        "import sys, pathlib\n"
        "options = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "seen = sorted(str(path) for path in pathlib.Path().rglob('*') if path.is_file())\n"
        "target = pathlib.Path(options['--output'])\n"
        "target.parent.mkdir(parents=True, exist_ok=True)\n"
        "target.write_text(pathlib.Path(options['--source']).read_text())\n"
        "(target.parent / 'seen.txt').write_text('\\n'.join(seen))\n"
    )
    monkeypatch.setattr(rederived, "ROOT", tmp_path / "code")
    own = Program("made.copy", frozenset({"--source", "--output"}))
    monkeypatch.setattr(rederived, "CHEAP", {"copy.py": own})
    return folder


COPIED = ("results/scores/a.txt", "results/secret.txt", "results/tables/b.txt")


def run(folder, command, paths=COPIED, *, without=(), notes=(), inputs=()):
    """Seal the release with one record of ``command``, and make everything again."""
    read = {path: {"path": path} for path in inputs}
    record = {"command": command, "inputs": read, "parameters": {}, "versions": {}}
    rules = {"results/tables/b.txt": ("copy", "results/tables/b.txt.record.json")}
    outputs = tuple(
        Output(path, 1, sha256_file(folder / path), *rules.get(path, (None, None))) for path in paths
    )  # fmt: skip
    inputs = (SealedFile("config/x.yaml", 1, sha256_file(folder / "config/x.yaml")),)
    manifest = Manifest(
        kind="run", run="r", suite="s", sealed="", partial=False, missing=(), limits=(), settings={}, code=(),
        libraries={}, rules={}, inputs=inputs, locks=(), ledger=(), outputs=outputs, records=(),
    )  # fmt: skip
    places = {path: folder / path for path in (*paths, "config/x.yaml") if path not in without}
    records = {"results/tables/b.txt.record.json": record}
    return Rederivation(manifest, places, Part("Made again", "", notes=list(notes))).run(records)


COMMAND = ["copy.py", "--source", "results/scores/a.txt", "--output", "results/tables/b.txt"]


def test_equal_bytes_are_right_and_the_release_is_not_touched(copied):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    part = run(copied, COMMAND)
    assert (part.right, part.wrong, part.unchecked) == (1, [], [])
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("mode", ["w", "r+", "a"])
def test_a_program_that_writes_to_its_input_does_not_change_the_release(copied, mode):
    """Neither through the name that it was given, nor through what that name resolves to."""
    (rederived.ROOT / "made" / "copy.py").write_text(
        "import sys, pathlib\n"
        "options = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "text = pathlib.Path(options['--source']).read_text()\n"
        "for path in (pathlib.Path(options['--source']), pathlib.Path('config/x.yaml')):\n"
        f"    with path.resolve().open({mode!r}) as file:\n"
        "        file.write('spoilt')\n"
        "target = pathlib.Path(options['--output'])\n"
        "target.parent.mkdir(parents=True)\n"
        "target.write_text(text)\n"
    )
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    part = run(copied, COMMAND)
    assert (part.right, part.wrong, part.unchecked) == (1, [], [])
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_an_output_that_a_record_of_its_rule_reads_is_made_all_the_same(copied):
    """The text of an experiment is made from its table by one program."""
    part = run(copied, COMMAND, inputs=["results/tables/b.txt"])
    assert (part.right, part.wrong, part.unchecked) == (1, [], [])


def test_a_large_file_is_copied_only_where_a_record_names_it(copied, monkeypatch):
    """Weights below a folder that a program is given are left out; where that lets it fail, nothing is said."""
    own = Program("made.copy", frozenset({"--source", "--output", "--results"}))
    monkeypatch.setattr(rederived, "CHEAP", {"copy.py": own})
    monkeypatch.setattr(rederived, "COPIED", 10)
    write(copied, "results/weights", "more than ten bytes")
    write(copied, "results/tables/b.txt", "more than ten bytes")
    paths = (*COPIED, "results/weights")
    named = ["copy.py", "--source", "results/weights", "--output", "results/tables/b.txt"]
    assert run(copied, named, paths).right == 1
    program = rederived.ROOT / "made" / "copy.py"
    program.write_text(program.read_text().replace("options['--source']", "'results/weights'"))
    part = run(copied, [*COMMAND, "--results", "results"], paths)
    assert [finding.text for finding in part.unchecked] == [rederived.NOT_HERE]


def test_other_bytes_are_wrong(copied):
    write(copied, "results/tables/b.txt", "forged")
    part = run(copied, COMMAND)
    assert [(finding.subject, finding.text[:10]) for finding in part.wrong] == [("results/tables/b.txt", "made again")]
    assert "others than those of the seal" not in part.wrong[0].text
    part = run(copied, COMMAND, notes=["Sealed with numpy 1."])
    assert part.wrong[0].text.endswith("code or libraries here are others than those of the seal")


def test_the_program_sees_what_its_arguments_name_and_the_configuration(copied):
    """Neither its own output of the release nor any file that it was not told of."""
    write(copied, "results/tables/seen.txt", "config/x.yaml\nresults/scores/a.txt")
    paths = ("results/scores/a.txt", "results/secret.txt", "results/tables/b.txt", "results/tables/seen.txt")
    from unittest import mock

    with mock.patch.object(Rederivation, "compare", autospec=True) as compare:
        run(copied, COMMAND, paths)
    _, _, made, said = compare.call_args.args
    assert said == ""
    assert made["results/tables/seen.txt"] == sha256_file(copied / "results/tables/seen.txt")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["copy.py", "--source", "/etc/passwd", "--output", "results/tables/b.txt"], "has arguments"),
        (["copy.py", "--source", "results/scores/a.txt", "--output", "../b.txt"], "has arguments"),
    ],
)
def test_a_record_with_other_arguments_is_not_run(copied, command, text, monkeypatch):
    monkeypatch.setattr(rederived, "started", lambda *given: pytest.fail("was started"))
    part = run(copied, command)
    assert text in part.unchecked[0].text


@pytest.mark.parametrize("command", [["rm.py", "-rf", "."], ["/bin/sh", "-c", "x"], [], ["made.copy"]])
def test_programs_that_are_not_listed_are_not_run(copied, command, monkeypatch):
    monkeypatch.setattr(rederived, "started", lambda *given: pytest.fail("was started"))
    part = run(copied, command)
    assert (part.right, part.wrong) == (0, [])


def test_without_an_input_nothing_is_run_and_with_it_a_failure_is_wrong(copied):
    part = run(copied, COMMAND, without=["results/scores/a.txt"])
    assert [finding.text for finding in part.unchecked] == [rederived.NOT_HERE]
    (rederived.ROOT / "made" / "copy.py").write_text("raise SystemExit('cannot')\n")
    part = run(copied, COMMAND)
    assert [finding.text for finding in part.wrong] == ["cannot be made again from what was sealed: cannot"]


def test_of_a_folder_only_what_the_record_names_must_be_here(copied, monkeypatch):
    """A release without its weights: tables are made again all the same, and a program that needs them is left out."""
    own = Program("made.copy", frozenset({"--source", "--output", "--results"}))
    monkeypatch.setattr(rederived, "CHEAP", {"copy.py": own})
    write(copied, "results/weights", "absent below")
    paths = ("results/scores/a.txt", "results/secret.txt", "results/tables/b.txt", "results/weights")
    part = run(copied, [*COMMAND, "--results", "results"], paths, without=["results/weights"])
    assert (part.right, part.wrong, part.unchecked) == (1, [], [])
    (rederived.ROOT / "made" / "copy.py").write_text("raise SystemExit('cannot')\n")
    part = run(copied, [*COMMAND, "--results", "results"], paths, without=["results/weights"])
    assert [finding.text for finding in part.unchecked] == [rederived.NOT_HERE]


def test_a_program_that_hangs_is_ended(copied, monkeypatch):
    (rederived.ROOT / "made" / "copy.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setattr(rederived, "LONGEST", 0.5)
    assert started(["-m", "made.copy"], copied) == "not done after 0.5 s"


def test_jobs_that_differ_in_lists_alone_are_one(monkeypatch):
    monkeypatch.setattr(rederived, "CHEAP", {"copy.py": COPY})
    outputs, records = [], {}
    for name in ("x", "y"):
        outputs.append(Output(f"out/{name}.csv", 1, "0" * 64, "draw", f"out/{name}.record.json"))
        command = ["copy.py", "--names", name, "--source", "in", "--output", "out"]
        inputs = {"table": {"path": f"in/{name}", "sha256": "0" * 64}}
        records[f"out/{name}.record.json"] = {"command": command, "inputs": inputs}
    manifest = type("Manifest", (), {"outputs": outputs, "run": "r"})
    (job,) = rederived.jobs_of(manifest, records, Part("", ""))
    assert job.words() == ["-m", "workflow_scripts.made.copy", "--source", "in", "--output", "out", "--names", "x", "y"]
    assert job.inputs == {"in/x", "in/y"}
    assert job.outputs == outputs


def test_tables_of_scores_that_lie_elsewhere_are_not_passed_over(monkeypatch):
    """A forger seals honest scores at their place and makes the tables from others."""
    outputs, records = (), {}
    for name, scores in (("a", "results/scores"), ("b", "results/forged")):
        path = f"results/runs/r/tables/{name}.parquet"
        outputs += (Output(path, 1, "0" * 64, "collect_scores", f"{path}.record.json"),)
        command = ["collect.py", "--run", "results/runs/r/run.json", "--scores-dir", scores, "--output", path]
        records[f"{path}.record.json"] = {"command": command, "inputs": {}}
    part = Part("", "")
    (job,) = rederived.jobs_of(type("Manifest", (), {"outputs": outputs, "run": "r"}), records, part)
    assert [output.path for output in job.outputs] == ["results/runs/r/tables/a.parquet"]
    assert [(each.subject, each.text.rpartition(": ")[2]) for each in part.unchecked] == [
        ("results/runs/r/tables/b.parquet", "--scores-dir results/forged")
    ]


def test_what_no_job_makes_again_is_listed(copied):
    paths = (*COPIED, "results/runs/r/tables/c.csv", "results/runs/r/run.json")
    for path in paths[-2:]:
        write(copied, path, "forged")
    part = run(copied, COMMAND, paths)
    assert (part.right, part.wrong) == (1, [])
    assert [finding.subject for finding in part.unchecked] == [paths[-2]]


@pytest.mark.slow
def test_the_published_table_and_a_figure_are_made_again(root, tmp_path):
    """With the real programs: the table is copied from the one of the project, and a figure is drawn from it."""
    from workflow_scripts.provenance.release.hash_pass import check_hashes
    from workflow_scripts.provenance.release.record_checks import RecordChecks
    from workflow_scripts.provenance.release.rederived import started

    folder = tmp_path / "release"
    figures = "results/runs/published/figures"
    for ending in (".parquet", ".refused.tsv", ".defects.tsv"):
        write(folder, CARRIED + ending, (root / (CARRIED + ending)).read_bytes())
    run_file = {"run": "published", "suite": "pythia", "models": [], "steps": {}, "shots": [], "score_kinds": [],
                "tasks": [], "settings": {}}  # fmt: skip
    write(folder, "results/runs/published/run.json", run_file)
    tables = TABLE.rpartition("/")[0]
    files = [
        "--files",
        f"{tables}/{LISTS[0]}",
        "--refused",
        f"{tables}/{LISTS[1]}",
        "--defects",
        f"{tables}/{LISTS[2]}",
    ]
    importing = ["--source", f"{CARRIED}.parquet", "--output", TABLE, *files]
    drawing = ["--figure", "published_lambada", "--run", "results/runs/published/run.json", "--tables", TABLE]
    assert started(["-m", CHEAP["import_results.py"].module, *importing], folder) == ""
    assert started(["-m", CHEAP["draw.py"].module, *drawing, "--output-dir", figures], folder) == ""

    def sealed(path, *others):
        return (path, (folder / path).stat().st_size, sha256_file(folder / path), *others)

    stem = f"{figures}/published_lambada"
    outputs = [Output(*sealed(TABLE, "import_published", f"{TABLE}.record.json"))]
    outputs += [Output(*sealed(f"{tables}/{name}", "import_published", None)) for name in LISTS]
    outputs += [
        Output(*sealed(f"{stem}.{kind}", "draw_figure", f"{stem}.record.json")) for kind in ("svg", "csv", "pdf")
    ]
    outputs.append(Output(*sealed("results/runs/published/run.json", None, None)))
    manifest = Manifest(
        kind="run", run="published", suite="pythia", sealed="", partial=False, missing=(), limits=(), settings={},
        code=(), libraries={}, rules={}, locks=(), ledger=(), outputs=tuple(outputs),
        inputs=tuple(SealedFile(*sealed(CARRIED + end)) for end in (".parquet", ".refused.tsv", ".defects.tsv")),
        records=tuple(SealedFile(*sealed(f"{path}.record.json")) for path in (TABLE, stem)),
    )  # fmt: skip
    _, places = check_hashes(manifest, folder)
    records = RecordChecks(manifest, places, Part("Records", "")).records
    part = Rederivation(manifest, places, Part("Made again", "")).run(records)
    assert (part.right, part.wrong, part.unchecked) == (7, [], [])
    # A point of the figure is moved, and all hashes are redone.
    text = (folder / f"{stem}.csv").read_text()
    (folder / f"{stem}.csv").write_text(text.replace("0.", "0.9", 1))
    forged = [Output(*sealed(each.path, each.rule, each.record)) for each in manifest.outputs]
    part = Rederivation(
        Manifest(**{**vars(manifest), "outputs": tuple(forged)}), places, Part("Made again", "")
    ).run(records)  # fmt: skip
    assert [finding.subject for finding in part.wrong] == [f"{stem}.csv"]
    assert json.loads((folder / f"{stem}.record.json").read_text())["command"][0] == "draw.py"
