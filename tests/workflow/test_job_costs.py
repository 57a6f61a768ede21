"""The table of what a run's rules took: benchmark files as Snakemake wrote them."""

from __future__ import annotations

import pytest

from workflow_scripts import cli
from workflow_scripts.workflow.tools import job_costs

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
ROWS = {
    "fetch_checkpoint/a-step0.tsv": "0.48 0:00:00 NA NA NA NA 0.00 0.00 0.00 0.00",
    "score_checkpoint/a-step0.tsv": "7.50 0:00:07 273.36 632.55 174.22 206.87 0.03 0.07 26.25 2.00",
    "score_checkpoint/deeper/a-step1.tsv": "6.50 0:00:06 300.00 656.79 196.87 213.54 0.08 0.05 27.97 4.00",
    "crosscheck.tsv": "20.00 0:00:20 100.00 656.79 196.87 213.54 0.08 0.05 27.97 2.00",
}


@pytest.fixture
def timings(tmp_path):
    for name, row in ROWS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(HEAD + row.replace(" ", "\t") + "\n")
    return tmp_path


def test_rules_are_summed_and_the_costliest_comes_first(timings, capsys):
    assert cli.run(job_costs.main, ["--timings", str(timings)]) == 0
    _, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert lines == [
        ["score_checkpoint", "2", "14.0", "6.0", "75%", "3.0", "315"],
        ["crosscheck", "1", "20.0", "2.0", "25%", "2.0", "105"],
        ["fetch_checkpoint", "1", "0.5", "0.0", "0%", "0.0", "0"],
        ["all", "4", "34.5", "8.0", "100%", "2.0", "315"],
    ]


def test_a_folder_without_timings_and_a_file_that_is_none_are_one_line(timings, tmp_path, capsys):
    assert cli.run(job_costs.main, ["--timings", str(tmp_path / "nowhere")]) == cli.USER_ERROR
    assert "finish a run first" in capsys.readouterr().err
    (timings / "crosscheck.tsv").write_text("nonsense")
    assert cli.run(job_costs.main, ["--timings", str(timings)]) == cli.USER_ERROR
    assert "crosscheck.tsv: not a benchmark file" in capsys.readouterr().err
