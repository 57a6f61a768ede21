"""The table of models is that of the original README, from the registry."""

import pytest

from workflow_scripts import cli
from workflow_scripts.workflow.tools import models_table

# EleutherAI/pythia, README: size, layers, width, heads, head width, learning rate, data sets.
README = [
    ("14M", 6, 128, 4, 32, 1.0e-3, 1),
    ("31M", 6, 256, 8, 32, 1.0e-3, 1),
    ("70M", 6, 512, 8, 64, 1.0e-3, 2),
    ("160M", 12, 768, 12, 64, 6.0e-4, 2),
    ("410M", 24, 1024, 16, 64, 3.0e-4, 2),
    ("1B", 16, 2048, 8, 256, 3.0e-4, 2),
    ("1.4B", 24, 2048, 16, 128, 2.0e-4, 2),
    ("2.8B", 32, 2560, 32, 80, 1.6e-4, 2),
    ("6.9B", 32, 4096, 32, 128, 1.2e-4, 2),
    ("12B", 36, 5120, 40, 128, 1.2e-4, 2),
]


def printed(capsys, *words):
    assert cli.run(models_table.main, list(words)) == 0
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_is_that_of_the_readme(capsys):
    rows = printed(capsys)
    assert len(rows) == len(README)
    for row, (size, *shape, rate, datasets) in zip(rows, README, strict=True):
        assert row[0] == size
        assert [int(cell) for cell in row[1:5]] == shape
        assert row[5] == "2097152"  # the README says 2M
        # Where the configuration files say another, the README's is in brackets.
        assert float(row[6].split("(")[-1].strip(")")) == rate
        assert row[7] == "154"
        assert row[8].count("https://huggingface.co/EleutherAI/pythia-") == datasets
    assert [row[6] for row in rows if "(" in row[6]] == ["0.00025 (3.0e-04)"]


def test_other_versions_and_suites(capsys):
    rows = printed(capsys, "--version", "v0")
    assert {row[0]: row[5] for row in rows}["1.4B"] == "4194304"
    assert printed(capsys, "--suite", "books")[0][8] == "books-1m"
    seeds = printed(capsys, "--version", "polypythias")
    assert "[pythia-14m-seed9](https://huggingface.co/EleutherAI/pythia-14m-seed9)" in seeds[0][8]


@pytest.mark.parametrize(
    ("words", "hint"), [(["--version", "v2"], "did you mean 'v1'?"), (["--suite", "pythi"], "did you mean 'pythia'?")]
)
def test_unknown_names_are_one_line(words, hint, capsys):
    assert cli.run(models_table.main, words) == 2
    assert hint in capsys.readouterr().err
