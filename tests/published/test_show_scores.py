"""The scores of one checkpoint at hand, held to the authors' own result files."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflow_scripts import cli
from workflow_scripts.published import show_scores
from workflow_scripts.published.results_table import to_frame, write_table
from workflow_scripts.published.summary import suite_rows


def answer(capsys, *words):
    assert cli.run(show_scores.main, list(words)) == 0
    heading, titles, *rows = capsys.readouterr().out.partition("In brackets: ")[0].splitlines()
    cells = [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in (titles, *rows)]
    return heading, cells[0], {(row[0], row[1]): dict(zip(cells[0], row, strict=True)) for row in cells[1:]}


def test_published_values_are_those_of_the_original_files(capsys, tmp_path, shared):
    """0.1846 +- 0.0054 is read from the authors' JSON here, not from the project's table."""
    file = shared / "upstream/evals/pythia-v1/pythia-70m/zero-shot/70m_step143000.json"
    stated = json.loads(file.read_text())["results"]
    heading, _, rows = answer(capsys, "pythia-70m", "last", "--results", str(tmp_path))
    assert heading == f"pythia-70m, step 143000; published only: no run in {tmp_path} has scored it"
    for task, metric, then in (
        ("lambada_openai", "acc", "acc"),
        ("lambada_openai", "perplexity", "ppl"),
        ("piqa",) + ("acc",) * 2,
    ):
        value, error = (float(word) for word in rows[task, metric]["published 0-shot"].split(" ± "))
        assert value == pytest.approx(stated[task][then], abs=0.006)
        assert error == pytest.approx(stated[task][f"{then}_stderr"], abs=6e-5)


def test_what_was_asked_differently_is_in_brackets(capsys, tmp_path):
    _, titles, rows = answer(capsys, "pythia-70m", "step143000", "piqa", "--results", str(tmp_path))
    assert titles == ["task", "metric", "published 0-shot", "published 5-shot"]
    assert set(rows) == {("piqa", "acc"), ("piqa", "acc_norm")}
    assert not rows["piqa", "acc"]["published 0-shot"].startswith("(")
    assert rows["piqa", "acc"]["published 5-shot"].startswith("(")
    assert cli.run(show_scores.main, ["pythia-70m", "last", "piqa", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("In brackets: not to be compared with ours")


@pytest.fixture
def results(compact, tmp_path):
    """Two runs: one of this checkpoint under today's names, changed a little, and a newer one of another model."""
    rows = suite_rows(compact, 0)
    rows = rows[(rows["model"] == "pythia-70m") & (rows["step"] == 512) & (rows["task"] == "lambada_openai")]
    rows = rows.astype({"metric": str, "model": str}).replace({"metric": {"ppl": "perplexity"}})
    for run, frame in (("mine", rows.assign(value=0.25)), ("other", rows.assign(model="pocket-1m", value=0.75))):
        (tmp_path / "runs" / run / "tables").mkdir(parents=True)
        write_table(
            to_frame({name: frame[name].tolist() for name in frame}), tmp_path / f"runs/{run}/tables/scores.parquet"
        )
    return tmp_path


def test_ours_stand_beside_the_published(results, capsys):
    heading, titles, rows = answer(capsys, "pythia-70m", "512", "lambada*", "--results", str(results))
    assert heading.endswith(f"ours from {results / 'runs/mine/tables/scores.parquet'}")
    assert titles == ["task", "metric", "0-shot", "published 0-shot"]
    assert rows["lambada_openai", "acc"]["0-shot"].startswith("0.2500 ± ")
    assert rows["lambada_openai", "acc"]["published 0-shot"].startswith("0.0000 ± ")
    _, titles, rows = answer(capsys, "pocket-1m", "512", "--results", str(results))
    assert titles == ["task", "metric", "0-shot"]
    assert rows["lambada_openai", "acc"]["0-shot"].startswith("0.7500 ± ")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["pythia-70", "1"], "unknown model 'pythia-70'; did you mean 'pythia-70m'?"),
        (["pocket-1", "1"], "unknown model 'pocket-1'; did you mean 'pocket-1m'?"),
        (["pythia-70m", "1200"], "no scores at step 1200; nearest are 512 and 1000"),
        (["pythia-70m", "latest"], "step 'latest': expected a number, step<N>, or last"),
        (["pythia-70m", "512", "piqqa"], "pythia-70m at step 512: unknown task 'piqqa'; did you mean 'piqa'?"),
    ],
)
def test_a_wrong_name_is_one_line(results, capsys, words, line):
    assert cli.run(show_scores.main, [*words, "--results", str(results)]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_rows_without_a_step_are_no_checkpoint(compact, capsys, tmp_path):
    """The published table also has rows of OPT and BLOOM."""
    assert compact[compact["model"] == "opt-125m"]["step"].isna().all()
    assert cli.run(show_scores.main, ["opt-125m", "last", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: unknown model 'opt-125m'; ")


def change(results, **columns):
    """The run ``other`` again with other values in some columns."""
    path = results / "runs/other/tables/scores.parquet"
    frame = pd.read_parquet(path)
    frame.assign(**{name: pd.Series([value] * len(frame)) for name, value in columns.items()}).to_parquet(path)


def test_names_of_strangers_drive_no_terminal(results, capsys):
    change(results, task="t\x1b[2J", model="m\x1b[2J")
    assert cli.run(show_scores.main, ["m\x1b[2J", "512", "--results", str(results)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_scores_of_stock_lm_eval_are_shown(results, capsys):
    change(results, protocol="stock")
    _, _, rows = answer(capsys, "pocket-1m", "last", "--results", str(results))
    assert rows["lambada_openai", "acc"]["0-shot"].startswith("0.7500")


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"step": None}, "pocket-1m has no scores under today's prompts in "),
        ({"protocol": "pythia-2023"}, "pocket-1m has no scores under today's prompts in "),
    ],
)
def test_an_odd_table_is_one_line(results, capsys, columns, line):
    change(results, **columns)
    assert cli.run(show_scores.main, ["pocket-1m", "last", "--results", str(results)]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_a_broken_table_is_named_and_left_out(results, capsys, caplog):
    broken = results / "runs/other/tables/scores.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    heading, _, rows = answer(capsys, "pythia-70m", "512", "lambada*", "--results", str(results))
    assert "runs/mine" in heading
    assert rows["lambada_openai", "acc"]["0-shot"].startswith("0.2500 ± ")
    (line,) = caplog.messages
    assert line.startswith(f"warning: {broken}: not a parquet file (")
    assert line.endswith("; left out")
    assert cli.run(show_scores.main, ["pythia-70m", "512", "--run", "other", "--results", str(results)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {broken}: not a parquet file (")


def test_a_table_without_numbers_is_one_line(results, capsys):
    change(results, value="much")
    assert cli.run(show_scores.main, ["pocket-1m", "last", "--run", "other", "--results", str(results)]) == 2
    said = capsys.readouterr().err
    assert "runs/other/tables/scores.parquet: not a table of numbers (" in said
    assert said.count("\n") == 1


def test_a_table_of_lists_is_one_line(results, capsys):
    path = results / "runs/other/tables/scores.parquet"
    table = pq.read_table(path)
    lists = pa.array([[name] for name in table["model"].to_pylist()])
    pq.write_table(table.set_column(table.schema.get_field_index("model"), "model", lists), path)
    assert cli.run(show_scores.main, ["pocket-1m", "last", "--run", "other", "--results", str(results)]) == 2
    assert capsys.readouterr().err == f"error: {path}: columns model hold more than one value a row\n"


def test_a_model_that_nobody_has_scored_yet_is_no_unknown_one(capsys, tmp_path):
    assert cli.run(show_scores.main, ["pocket-1m", "last", "--results", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: no run in {tmp_path} has scored pocket-1m yet; run snakemake evaluate\n"


@pytest.mark.parametrize("run", ["/mine", "", "../runs", "min"])
def test_a_run_that_is_not_there_is_named(results, capsys, run):
    assert cli.run(show_scores.main, ["pocket-1m", "last", "--run", run, "--results", str(results)]) == 2
    assert f"unknown run '{run}'" in capsys.readouterr().err
