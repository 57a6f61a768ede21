"""Chains of records: what ``why`` prints and what ``diff`` finds, on files made by hand."""

import json

import pytest

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.provenance.diff import compared
from workflow_scripts.provenance.diff import main as diff
from workflow_scripts.provenance.lineage import record_of, trace
from workflow_scripts.provenance.why import explain
from workflow_scripts.provenance.why import main as why
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.records import record_path


def put(root, name, text, inputs=(), command=(), *, parameters=None, versions=None, record_at=None):
    """File ``name`` with a record that names ``inputs`` as they are now."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    content = {
        "output": path.name,
        "inputs": {key: {"path": str(at), "sha256": sha256_file(root / at)} for key, at in inputs},
        "parameters": parameters or {},
        "command": list(command),
        "code_version": "abc123",
        "versions": versions or {"numpy": "2.4"},
    }
    record_path(root / record_at if record_at else path).write_text(json.dumps(content))
    return path


@pytest.fixture
def chain(tmp_path):
    """corpus -> trained model -> mirror -> fetched checkpoint -> scores -> figure, as the workflow lays them out."""
    (tmp_path / "corpus.txt").write_text("raw text")
    put(tmp_path, "results/data/view.json", "{}", [("text", "corpus.txt")], ["make_view.py", "--idx", "corpus.txt"])
    train = ["retrain.py", "--recipe", '{"layers": 2, "seed": 1}', "--view", "results/data/view.json",
             "--output-dir", "results/training/m"]  # fmt: skip
    put(tmp_path, "results/training/m/run.json", "{}", [("view", "results/data/view.json")], train)
    (tmp_path / "results/training/m/step8").mkdir()
    (tmp_path / "results/training/m/step8/model.safetensors").write_text("weights")
    put(tmp_path, "results/mirror/models/o/m/step8/sha256.txt", "x",
        [("weights", "results/training/m/step8/model.safetensors")], ["publish.py"],
        record_at="results/mirror/models/o/m/step8")  # fmt: skip
    receipt = {"source": "mirror", "location": "results/mirror", "kind": "model", "repository": "o/m",
               "revision": "step8", "files": []}  # fmt: skip
    put(tmp_path, "results/checkpoints/m/step8/fetched.json", json.dumps(receipt), (), ["fetch.py", "--step", "8"])
    (tmp_path / "results/checkpoints/m/step8/model.safetensors").write_text("weights")
    put(tmp_path, "results/tables/scores.parquet", "scores",
        [("model", "results/checkpoints/m/step8/model.safetensors")], ["collect.py"])  # fmt: skip
    (tmp_path / "results/tables/scores.csv").write_text("a")
    put(tmp_path, "results/figures/f.svg", "<svg/>", [("scores", "results/tables/scores.parquet")],
        ["draw.py", "--figure", "f"], parameters={"figure": "f", "caption": "long"},
        record_at="results/figures/f")  # fmt: skip
    return tmp_path


def test_the_chain_goes_from_the_figure_to_the_raw_text(chain):
    text = explain(chain / "results/figures/f.svg", chain)
    order = ["draw.py", "scores: results/tables/scores.parquet", "collect.py", "fetch.py --step 8",
             "mirror: results/mirror/models/o/m/step8", "publish.py", "retrain.py", "view: results/data/view.json",
             "text: corpus.txt"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert sha256_file(chain / "corpus.txt")[:12] in text
    assert text.count("numpy 2.4") == 1, "libraries are said once while they are the same"
    assert "caption" not in text
    (raw,) = (line for line in text.splitlines() if "text: corpus.txt" in line)
    assert raw.endswith("[raw input, no record]")


def test_files_without_an_own_record_are_found_by_their_receipt(chain):
    results = chain / "results"
    assert record_of(results / "training/m/step8/model.safetensors") == results / "training/m/run.json.record.json"
    assert record_of(results / "checkpoints/m/step8") == results / "checkpoints/m/step8/fetched.json.record.json"
    assert record_of(results / "tables/scores.csv") == results / "tables/scores.parquet.record.json"
    assert record_of(chain / "corpus.txt") is None


def test_a_changed_a_lost_and_an_unrecorded_input_are_said(chain):
    (chain / "corpus.txt").write_text("other text")
    assert "changed since, now " + sha256_file(chain / "corpus.txt")[:12] in explain(
        chain / "results/data/view.json", chain
    )
    (chain / "corpus.txt").unlink()
    assert "[no longer there; raw input, no record]" in explain(chain / "results/data/view.json", chain)
    (chain / "results/data/view.json.record.json").unlink()
    assert "[no record: its program left none]" in explain(chain / "results/training/m/run.json", chain)


def test_many_inputs_are_cut_and_chosen(chain):
    names = [f"results/scores/m{number}.json" for number in range(40)]
    for name in names:
        put(chain, name, name, (), ["score.py", name])
    table = put(chain, "results/tables/all.parquet", "x", [(name, name) for name in names], ["collect.py"])
    assert "and 28 more inputs" in explain(table, chain)
    chosen = explain(table, chain, only="m17")
    assert "m17.json" in chosen
    assert "m18.json" not in chosen


def test_two_outputs_that_share_a_record_are_explained_once(chain):
    (chain / "results/training/m/metrics.csv").write_text("step,loss")
    report = put(chain, "results/r.html", "x", [("a", "results/training/m/metrics.csv"),
                 ("b", "results/training/m/step8/model.safetensors")], ["build.py"])  # fmt: skip
    text = explain(report, chain)
    assert text.count("retrain.py") == 1
    assert "(made together with a file above)" in text


def test_a_cycle_of_records_ends(chain):
    first = put(chain, "results/a.json", "a", (), ["a.py"])
    put(chain, "results/b.json", "b", [("a", "results/a.json")], ["b.py"])
    put(chain, "results/a.json", "a", [("b", "results/b.json")], ["a.py"])
    assert "b: results/b.json" in explain(first, chain)


def test_what_cannot_be_traced_is_refused_in_one_line(chain):
    with pytest.raises(MissingInputError, match="no such file and no record"):
        trace(chain / "nothing.svg", chain)
    record_path(chain / "results/data/view.json").write_text('{"inputs": []}')
    with pytest.raises(DataError, match="not a record"):
        explain(chain / "results/figures/f.svg", chain)
    record_path(chain / "results/data/view.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        explain(chain / "results/figures/f.svg", chain)


def test_diff_goes_down_to_the_cause(chain):
    other = put(chain, "results/data2/view.json", "{2}", [("text", "corpus.txt")],
                ["make_view.py", "--idx", "corpus.txt", "--dtype", "uint16"],
                parameters={"n": 2}, versions={"numpy": "2.5"})  # fmt: skip
    recipe = ["retrain.py", "--recipe", '{"layers": 3, "seed": 1}', "--output-dir", "results/training/n"]
    put(chain, "results/training/n/run.json", "{n}", [("view", "results/data2/view.json")], recipe)
    text = compared(chain / "results/training/m/run.json", chain / "results/training/n/run.json", chain)
    assert "option --recipe layers: 2 -> 3" in text
    assert "seed" not in text
    below = text[text.index("input view:") :]
    assert sha256_file(other)[:12] in below
    for line in ("library numpy: 2.4 -> 2.5", "option --dtype: absent -> uint16", "parameter n: absent -> 2"):
        assert f"\n  {line}" in below
    assert "text" not in below.replace("text changed", "")


def test_diff_of_equal_and_of_unexplained_files(chain):
    same = chain / "results/data/view.json"
    assert compared(same, same, chain).startswith("equal: both have sha256")
    copy = put(
        chain, "results/data3/view.json", "{}", [("text", "corpus.txt")], ["make_view.py", "--idx", "corpus.txt"]
    )
    assert compared(same, copy, chain).splitlines() == [f"equal: both have sha256 {sha256_file(same)[:12]}"]
    copy.write_text("edited by hand")
    assert "nothing recorded differs" in compared(same, copy, chain)
    assert "no record of" in compared(same, chain / "corpus.txt", chain)


def test_diff_names_inputs_of_one_side_and_files_made_together(chain):
    put(chain, "results/one.json", "1", [("a", "corpus.txt")], ["p.py"])
    put(chain, "results/two.json", "2", [("b", "corpus.txt")], ["p.py"])
    text = compared(chain / "results/one.json", chain / "results/two.json", chain)
    assert "input a: only in the first" in text
    assert "input b: only in the second" in text
    first, second = (chain / f"results/training/m/step{step}" for step in (8, 9))
    second.mkdir()
    assert "made together" in compared(first, second, chain)


def test_programs_print_the_answer(chain, capsys):
    why([str(chain / "results/figures/f.svg"), "--root", str(chain)])
    assert "corpus.txt" in capsys.readouterr().out
    view = str(chain / "results/data/view.json")
    diff([view, view, "--root", str(chain)])
    assert "equal" in capsys.readouterr().out
