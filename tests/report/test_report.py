"""The page: its sentences, its parts, what it must not contain, and how a browser sees it."""

import json
import math
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
from synthetic_run import FIGURES, LAST, build_arguments, inputs_below, run_settings, score, scores_frame

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.published.results_table import read_table
from workflow_scripts.published.summary import final_scores
from workflow_scripts.report.build import main as build
from workflow_scripts.report.page.explorer_data import explore_data, shown_steps
from workflow_scripts.report.page.overview import direction, engine_sentence, learning_table
from workflow_scripts.report.page.report_inputs import ReportInputs, read_inputs, read_json
from workflow_scripts.report.page.sections import address_of
from workflow_scripts.report.page.verdicts import find_verdicts
from workflow_scripts.storage.given_files import GivenFiles
from workflow_scripts.suite.registry import load_suite


class Page(HTMLParser):
    """Tags with their attributes, ids, and whether every tag is closed in order."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page_path(run_on_disk, drawn, root):
    tables, dataset = run_on_disk["tables"], run_on_disk["root"] / "data" / "pocket" / "standard"
    defects = root / "config" / "suites" / "published" / "pythia-evals.defects.tsv"
    (tables / "published_defects.tsv").write_bytes(defects.read_bytes())
    (tables / "crosscheck.json").write_text(json.dumps({"largest_difference": 2e-6, "tasks": [{}, {}]}))
    (dataset / "batches").mkdir(parents=True)
    (dataset / "index_maps").mkdir()
    verified = {"files": [{"path": "a"}], "bytes": 1234567, "lock_sha256": "ab" * 32}
    (dataset / "verified.json").write_text(json.dumps(verified))
    (dataset / "view.json").write_text(json.dumps({"sequences": 12, "tokens": 3456}))
    maps = {"sets": [{"label": "train", "samples": 9600, "epochs": 2, "files": {"doc_idx": "cd" * 32}}]}
    (dataset / "index_maps" / "index_maps.json").write_text(json.dumps(maps))
    sample = {
        "iteration": 0,
        "first_row": 0,
        "rows": 16,
        "sha256": "ef" * 32,
        "texts": ["<b>the farmer</b> walks", "x"],
    }
    (dataset / "batches" / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    output = run_on_disk["run_dir"] / "report.html"
    build(build_arguments(run_on_disk, FIGURES, output))
    return output


@pytest.fixture(scope="module")
def page(page_path):
    return page_path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_its_links_lead_somewhere(page):
    parsed = Page(page)
    assert parsed.open == []
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = {attrs["href"][1:] for tag, attrs in parsed.tags if tag == "a" and attrs["href"].startswith("#")}
    assert anchors <= set(ids)
    assert {"overview", "this-run", "published", "coverage", "data", "defects", "provenance", "rebuild"} <= set(ids)


def test_page_needs_no_network(page):
    parsed = Page(page)
    sources = [attrs.get("src", "") for _, attrs in parsed.tags if "src" in attrs]
    assert len(sources) == len(FIGURES)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "@import" not in page
    assert "url(" not in page
    assert len(page.encode()) < 6_000_000


def test_every_figure_has_words_for_those_who_do_not_see_it(page):
    images = [attrs for tag, attrs in Page(page).tags if tag == "img"]
    assert all(len(attrs["alt"]) > 40 for attrs in images)
    regions = [attrs for _, attrs in Page(page).tags if attrs.get("class", "").startswith("scroll")]
    assert all(attrs["tabindex"] == "0" and attrs["aria-label"] for attrs in regions)


def test_verdicts_carry_the_numbers(run_on_disk, page_path):
    inputs = read_inputs(run_on_disk["run"], run_on_disk["run_dir"], [], GivenFiles(inputs_below(run_on_disk)))
    texts = [verdict.text for verdict in find_verdicts(inputs)]
    end = f"{score('pocket_agreement', 2, LAST, 0):.3f}"[1:]
    table = learning_table(inputs)
    rows = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    agreement = rows["Number agreement, zero-shot"]
    assert agreement["1m, first"].startswith(".500 ± ")
    assert agreement["1m, last"].startswith(f"{end} ± ")
    assert agreement["90k, last"].startswith(f"{score('pocket_agreement', 0, LAST, 0):.3f}"[1:])
    assert agreement["more than zero-shot"] == ""
    middle = (score("pocket_agreement", 2, 0, 0) + score("pocket_agreement", 2, LAST, 0)) / 2
    steps = load_suite("pocket").model("pocket-1m").steps
    assert agreement["halfway at step"] == str(next(s for s in steps if score("pocket_agreement", 2, s, 0) >= middle))
    zero, five = (score("pocket_facts", 2, LAST, shots) for shots in (0, 5))
    assert rows["Facts, five-shot"]["more than zero-shot"].startswith(f"{five - zero:+.3f} (")
    assert any("agree to 2e-06 nats" in text for text in texts)
    assert any("from .185 (70m) to .705 (12b)" in text for text in texts)
    # From the tables of experiments.md: 39 ahead and 18 behind of 64, and 3 and 5 of the 8 MMLU means.
    assert any(
        "zero-shot scores: deduplicated data scores higher than standard data in 42 of 72" in text for text in texts
    )
    assert any("and lower in 23" in text for text in texts)
    assert any("90 files called five-shot" in text for text in texts)
    assert "Deduplicated minus standard data at the last checkpoint: -0.020" in " ".join(texts)


def test_direction_is_judged_by_the_error():
    assert direction(0.05, 0.03, 0.03) == "stays"
    assert direction(0.2, 0.03, 0.03) == "rises"
    assert direction(-0.2, 0.03, 0.03) == "falls"


def test_the_page_says_which_scores_lm_evals_own_model_gave():
    def said(*engines):
        return engine_sentence(pd.DataFrame({"engine": engines}))

    assert said("prefix-tree") == said() == engine_sentence(pd.DataFrame()) == ""
    assert said("lm-eval-hf") == " The scores are those of lm-eval's own Hugging Face model."
    assert "the engine lm-eval-hf in scores.csv" in said("prefix-tree", "lm-eval-hf")


def test_data_and_text_of_batches_are_shown_and_escaped(page):
    assert "1 files, 1,234,567 bytes, all match" in page
    assert "ab" * 32 in page
    assert "&lt;b&gt;the farmer&lt;/b&gt; walks" in page


def test_record_names_every_input(page_path):
    record = json.loads(page_path.with_name("report.html.record.json").read_text())
    assert {f"figure {name}" for name in FIGURES} <= set(record["inputs"])
    assert {"run", "scores", "published", "defects"} <= set(record["inputs"])


def test_building_again_gives_the_same_page(run_on_disk, page_path, tmp_path):
    build(build_arguments(run_on_disk, FIGURES, tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_bytes() == page_path.read_bytes()


def test_run_without_models_shows_only_published_results(run_on_disk, drawn, tmp_path):
    run = {"run": "published", "suite": "pythia", "models": [], "steps": {}, "shots": [], "tasks": []}
    (tmp_path / "run.json").write_text(json.dumps(run))
    for folder in ("tables", "figures"):
        (tmp_path / folder).mkdir()
    shutil.copy(run_on_disk["tables"] / "published.parquet", tmp_path / "tables")
    for path in drawn.glob("published_lambada.*"):
        shutil.copy(path, tmp_path / "figures")
    paths = {"run": tmp_path / "run.json", "run_dir": tmp_path, "root": tmp_path}
    build(build_arguments(paths, ["published_lambada"], tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    assert 'id="published"' in text
    assert 'id="this-run"' not in text
    assert 'id="coverage"' not in text


def test_what_happens_inside_the_models_has_a_section_where_it_is_drawn(page, drawn, tmp_path):
    assert 'id="dynamics"' not in page
    run = {"run": "inside", "suite": "pythia", "models": [], "steps": {}, "shots": [], "tasks": []}
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "figures").mkdir()
    for path in drawn.glob("published_lambada.*"):
        shutil.copy(path, tmp_path / "figures" / path.name.replace("published_lambada", "dynamics_heads"))
    paths = {"run": tmp_path / "run.json", "run_dir": tmp_path, "root": tmp_path}
    build(build_arguments(paths, ["dynamics_heads"], tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    section = text.partition('<section id="dynamics"')[2].partition("</section>")[0]
    assert section.count("<img") == text.count("<img") == 1
    assert 'href="#dynamics"' in text
    assert 'id="this-run"' not in text


def test_missing_parts_are_named(run_on_disk, tmp_path):
    output = tmp_path / "report.html"
    with pytest.raises(MissingInputError, match="figure nothing_drawn is not drawn yet"):
        build(build_arguments(run_on_disk, ["nothing_drawn"], output))
    with pytest.raises(MissingInputError, match="no such run file"):
        build(build_arguments({**run_on_disk, "run": tmp_path / "run.json"}, [], output))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_json(tmp_path / "broken.json")
    assert not output.exists()


def test_explorer_holds_every_score_with_its_source(page, run_on_disk):
    text = re.search(r'<script type="application/json" id="explore-data">(.*?)</script>', page, re.DOTALL)[1]
    data = json.loads(text)
    ours, published = data["sources"]
    assert sum(len(line["points"]) for part in ours["panels"] for line in part["lines"]) == len(scores_frame())
    assert [len(part["lines"]) for part in published["panels"]] == [16] * (16 + 2 + 2)  # CrowS-Pairs, MMLU
    (mmlu,) = (part for part in published["panels"] if part["title"] == "MMLU, mean of 57, zero-shot")
    last = next(line for line in mmlu["lines"] if line["model"] == "pythia-12b")["points"][-1]
    final = final_scores(read_table(run_on_disk["tables"] / "published.parquet"), 0)
    of_12b = final[(final["task"] == "mmlu") & (final["size"] == "12b") & (final["data"] == "standard")]
    assert last[2] == pytest.approx(float(of_12b["value"].iloc[0]), abs=1e-5)
    (sciq,) = (part for part in published["panels"] if part["title"] == "SciQ, zero-shot")
    line = next(line for line in sciq["lines"] if line["model"] == "pythia-12b")
    step, tokens, value, _, items, file, _ = line["points"][-1]
    assert (step, tokens, round(value, 3), items) == (143000, 299892736000, 0.902, 1000)
    assert re.fullmatch(
        r"pythia-v1/pythia-12b/zero-shot/12b_step143000\.json \(sha256 [0-9a-f]{12}\)", data["words"][file]
    )


def test_explorer_thins_many_checkpoints():
    steps = pd.Series([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 143001, 1000)])
    shown = shown_steps(steps)
    assert len(shown) == 40
    assert (shown[0], shown[-1]) == (0, 143000)
    assert set(shown) <= set(steps)
    assert shown_steps(steps.head(27)) == list(steps.head(27))


@pytest.fixture
def inputs_of(tmp_path):
    """Inputs of a report on changed scores."""

    def make(scores, **run):
        settings = {**run_settings(), **run}
        return ReportInputs(
            settings, tmp_path, GivenFiles([]), [], scores, *(pd.DataFrame(), [], pd.DataFrame(), pd.DataFrame(), None)
        )

    return make


def learnt(inputs):
    table = learning_table(inputs)
    return {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}


def test_of_a_perplexity_halfway_is_half_of_its_fall(inputs_of):
    scores = scores_frame().astype({"task": str, "metric": str})
    mine = scores[scores["task"] == "pocket_facts"].assign(task="mine", metric="perplexity", stderr=0.01)
    mine["value"] = 100.0 - mine["step"].astype(float) / 10
    tasks = [{"name": "mine", "title": "Mine", "metric": "perplexity", "chance": None}]
    rows = learnt(inputs_of(pd.concat([scores, mine]), tasks=tasks))
    assert rows["Mine, zero-shot"]["halfway at step"] == "384"  # the first checkpoint after 300
    mine["value"] = mine["step"].astype(float)
    assert learnt(inputs_of(pd.concat([scores, mine]), tasks=tasks))["Mine, zero-shot"]["halfway at step"] == ""


def test_a_task_with_other_checkpoints_at_five_shots_has_no_difference(inputs_of):
    scores = scores_frame()
    scores = scores[(scores["shots"] == 0) | (scores["step"] < 100)]
    rows = learnt(inputs_of(scores[(scores["shots"] == 5) | (scores["step"] >= 100)]))
    assert rows["Facts, five-shot"]["more than zero-shot"] == ""
    assert rows["Facts, five-shot"]["1m, last"] != ""


def test_of_models_of_one_size_the_table_follows_one(inputs_of):
    scores = scores_frame().astype({"model": str})
    one = scores[(scores["model"] == "pocket-1m") & (scores["shots"] == 0)].assign(version="seed")
    other = one.assign(model="pocket-1m-other", value=one["value"] / 2)
    for frames in ([one, other], [other, one]):
        assert learnt(inputs_of(pd.concat(frames))) == learnt(inputs_of(one))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_explorer_holds_numbers_that_json_has(inputs_of, value):
    """JSON.parse knows neither NaN nor Infinity: the whole explorer would stay empty."""
    scores = scores_frame().assign(stderr=value)
    scores["value"] = scores["value"].where(scores["step"] > 0, value)
    data = json.loads(json.dumps(explore_data(inputs_of(scores)), allow_nan=False))
    points = [point for panel in data["sources"][0]["panels"] for line in panel["lines"] for point in line["points"]]
    assert len(points) == (scores["step"] > 0).sum()
    assert explore_data(inputs_of(scores.assign(value=value))) is None


def test_heavy_figures_are_shown_as_pictures(drawn):
    stem = drawn / "scores_over_training"
    assert address_of(stem, b"<svg/>").startswith("data:image/svg+xml;base64,")
    assert address_of(stem, b"x" * 700_000).startswith("data:image/png;base64,iVBOR")
