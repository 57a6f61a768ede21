"""Requests made from benchmark files: rows of real runs on a busy two-core machine, as Snakemake wrote them."""

from dataclasses import replace

import pytest

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.workflow import plan
from workflow_scripts.workflow.requests.measured_requests import SNAKEMAKE_MB, read_table, write_text
from workflow_scripts.workflow.resources import JobResources
from workflow_scripts.workflow.tools import refine_requests
from workflow_scripts.workflow.tools.check import load_run_file
from workflow_scripts.workflow.tools.refine_requests import measure, read_benchmark

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
POCKET = {
    "train_model/pocket-90k": "170.05 0:02:50 472.18 964.66 290.71 321.99 0.01 13.71 10.68 18.21",
    "train_model/pocket-280k": "278.54 0:04:38 483.22 975.96 306.27 333.15 0.00 37.20 10.04 28.07",
    "train_model/pocket-1m": "789.45 0:13:09 521.97 1018.88 344.92 407.25 0.13 162.25 9.27 73.15",
    "score_checkpoint/pocket-90k-step0": "7.66 0:00:07 273.36 632.55 174.22 206.87 0.03 0.07 26.25 2.07",
    "score_checkpoint/pocket-280k-step0": "6.96 0:00:06 296.10 656.79 196.87 213.54 0.08 0.05 27.97 2.12",
    "score_checkpoint/pocket-1m-step600": "18.57 0:00:18 318.24 678.93 221.62 242.23 3.00 0.07 19.46 3.69",
    "score_checkpoint/pocket-1m-step0": "15.03 0:00:15 285.67 694.52 237.65 252.70 1.00 0.09 23.18 3.52",
    "fetch_checkpoint/pocket-1m-step0": "0.48 0:00:00 NA NA NA NA 0.00 0.00 0.00 0.00",
}
BOOKS = {
    "train_model/books-1m": "307.07 0:05:07 530.24 1028.54 445.56 468.10 0.02 159.06 85.33 262.24",
    "score_checkpoint/books-1m-step0": "82.56 0:01:22 506.18 909.13 410.12 451.82 2.08 0.04 66.84 55.66",
    "score_checkpoint/books-1m-step1": "145.24 0:02:25 452.68 857.32 361.22 384.10 40.00 0.04 42.14 61.43",
}
BOOKS_FULL = {
    "score_checkpoint/books-long-1m-step2400": "1466.52 0:24:26 1558.16 2229.61 1460.45 1474.26 6.39 170.1 12.7 187.13",
}


@pytest.fixture(autouse=True)
def place(root, tmp_path, monkeypatch):
    """A folder with the project's configuration and no results."""
    for name in ("config", "workflow_scripts"):
        (tmp_path / name).symlink_to(root / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timings(place, rows):
    for name, row in rows.items():
        path = place / "results" / "timings" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + row.replace(" ", "\t") + "\n")
    return place / "results" / "timings"


def loaded(place, root, name):
    if name.startswith("books"):
        # No text is fetched here; what a job takes does not depend on where it is from.
        (place / "books.jsonl").write_text("{}\n")
        text = (root / "config" / "runs" / f"{name}.yaml").read_text() + "corpus: {path: books.jsonl}\n"
        (place / "run.yaml").write_text(text)
        return load_run_file(place / "run.yaml")
    return load_run_file(place / "config" / "config.yaml")


@pytest.mark.parametrize(("name", "rows"), [("pocket", POCKET), ("books", BOOKS), ("books-full", BOOKS_FULL)])
def test_requests_hold_every_measured_peak_and_no_more_than_a_third_beyond(place, root, name, rows):
    run, folder = loaded(place, root, name), timings(place, rows)
    measured = {each.key: each for each in measure(run, folder)}
    arithmetic, refined = JobResources(run, {}), JobResources(run, measured)
    stages = {"train_model": "retrain", "score_checkpoint": "evaluate", "fetch_checkpoint": "fetch"}
    for path in folder.rglob("*.tsv"):
        measured_job = read_benchmark(path)
        model, stage = path.stem.split("-step")[0], stages[path.parent.name]
        asked = refined.needs[model][stage]
        assert measured_job.peak_mb + SNAKEMAKE_MB < asked.memory_mb, path
        assert measured_job.seconds < 60 * asked.minutes, path
        assert asked.memory_mb <= arithmetic.needs[model][stage].memory_mb, "arithmetic is an upper bound"
    for each in measured.values():
        asked = refined.needs[each.model][each.stage]
        assert asked.memory_mb <= max(500, 4 / 3 * each.peak_mb + SNAKEMAKE_MB)
        assert asked.minutes <= max(10, 2 * each.seconds / 60 + 6)


def test_the_peak_of_a_benchmark_is_in_mebibytes(place):
    folder = timings(place, {"train_model/a": POCKET["train_model/pocket-1m"]})
    # The program itself said 544,010,240 bytes in its record.
    assert read_benchmark(folder / "train_model" / "a.tsv").peak_mb == pytest.approx(544.0, rel=0.01)


def test_the_program_writes_a_table_that_rules_and_plan_use(place, root, capsys):
    timings(place, POCKET)
    run = load_run_file(place / "config" / "config.yaml")
    before = JobResources(run)
    assert "computed" in plan.requests_line(run)
    assert cli.run(refine_requests.main, ["--output", "results/requests.tsv"]) == 0
    assert "pocket-1m" in capsys.readouterr().out
    after = JobResources(run)
    # 521.97 MiB are 547.3 MB; a quarter more, and 200 for Snakemake.
    assert after.needs["pocket-1m"]["retrain"].memory_mb == 885 < before.needs["pocket-1m"]["retrain"].memory_mb
    assert after.needs["pocket-1m-deduped"] == before.needs["pocket-1m-deduped"], "nothing was measured of it"
    assert "7 of its models' stages measured" in plan.requests_line(run)
    # A table on another device says nothing about this one.
    table = {each.key: each for each in (replace(old, device="cuda") for old in read_table().values())}
    assert JobResources(run, table).needs == before.needs
    assert write_text(read_table()) == (place / "results" / "requests.tsv").read_text()


def test_time_is_scaled_by_the_work_of_a_job(place):
    timings(place, POCKET)
    run = load_run_file(place / "config" / "config.yaml")
    each = next(each for each in measure(run, place / "results" / "timings") if each.stage == "evaluate")
    assert each.seconds_of(3 * each.work) == pytest.approx(3 * each.seconds)


@pytest.mark.parametrize("text", ["", "stage\tmodel\n", None])
def test_a_damaged_table_is_refused(place, text):
    (place / "results").mkdir()
    good = "stage\tmodel\tdevice\twork\tjobs\tpeak_mb\tseconds\n"
    (place / "results" / "requests.tsv").write_text(f"{good}fetch\tpocket-1m\tcpu\tmany\n" if text is None else text)
    with pytest.raises(ConfigError, match=r"requests.tsv: .*remove it"):
        read_table()


def test_what_is_no_benchmark_file_is_refused(place, capsys):
    assert cli.run(refine_requests.main, []) == 2
    assert "finish the run first" in capsys.readouterr().err
    folder = timings(place, {"train_model/pocket-1m": "soon"})
    with pytest.raises(DataError, match="not a benchmark file"):
        list(measure(load_run_file(place / "config" / "config.yaml"), folder))


def test_a_run_that_cuts_documents_says_nothing_about_whole_evaluations(place):
    timings(place, POCKET)
    (place / "run.yaml").write_text("evaluation: {limit: 5}\n")
    stages = {each.stage for each in measure(load_run_file(place / "run.yaml"), place / "results" / "timings")}
    assert stages == {"retrain", "fetch"}
