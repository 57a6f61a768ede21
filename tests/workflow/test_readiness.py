"""What is missing is said before the first job, with the way out, in seconds."""

import contextlib
import re
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.faults.running import make_place, snakemake
from tests.storage.fault_hub import Fault
from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, MissingInputError, PipelineError, TransferError, UnknownNameError
from workflow_scripts.suite import layout
from workflow_scripts.suite.run import load_run
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow import readiness
from workflow_scripts.workflow.places import Place, places_of_jobs, places_of_run
from workflow_scripts.workflow.readiness import check_targets, require_places
from workflow_scripts.workflow.tools import check

NOWHERE = "http://no-such-host.invalid"


@pytest.fixture
def run_of(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(**changes):
        settings = load_yaml(root / "config/config.yaml")
        for one in (load_yaml(root / "config/runs/one-pythia-model.yaml"), changes):
            settings = check.merge(settings, one)
        return load_run(settings)

    return make


def hub_run(run_of, endpoint, **more):
    places = {"checkpoints": {"location": endpoint}, "evaluation": {"location": endpoint}}
    return run_of(tasks=["arc_easy", "arc_challenge", "piqa"], steps=[0], **(places | more))


def test_every_repository_of_data_is_asked_for_once_and_one_of_models(run_of):
    run = hub_run(run_of, "http://hub")
    data = [("hub", "http://hub", "dataset", name) for name in ("allenai/ai2_arc", "baber/piqa")]
    model = Place("hub", "http://hub", "model", "EleutherAI/pythia-70m-deduped")
    assert places_of_run(run) == [model, *(Place(*place) for place in data)]
    jobs = [("fetch_checkpoint", {"model": "pythia-70m-deduped"}), ("fetch_tokenizer", {}), ("score_checkpoint", {})]
    assert places_of_jobs(run, jobs) == [model]
    assert places_of_jobs(run, [("score_checkpoint", {}), ("draw_figure", {})]) == []


def test_the_mirror_of_the_run_itself_is_not_asked_for(root):
    run = check.load_run_file(root / "config/config.yaml")
    assert places_of_jobs(run, [("fetch_checkpoint", {"model": run.models[0].name})]) == []


def test_what_is_there_is_not_asked_for(run_of):
    run = hub_run(run_of, "http://hub")
    for path in readiness.evaluation.fetched_data(run, run.tasks):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert [place.kind for place in places_of_run(run)] == ["model"]
    for path in layout.score_files(run):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert places_of_run(run) == []


def test_no_network_is_said_in_seconds_with_the_ways_out(run_of, fault_hub):
    since = time.monotonic()
    with pytest.raises(TransferError) as caught:
        require_places(places_of_run(hub_run(run_of, NOWHERE)))
    assert "no connection" in str(caught.value)
    assert "source: mirror" in str(caught.value)
    assert "docs/how-to/offline-cluster.md" in str(caught.value)
    assert time.monotonic() - since < 10
    assert readiness.report_of(hub_run(run_of, NOWHERE))[0].startswith("not ready: hub EleutherAI/pythia-70m-deduped")


def test_a_gated_set_without_a_token_and_one_that_is_gone_are_said(run_of, fault_hub):
    run = hub_run(run_of, fault_hub.endpoint)
    fault_hub.add("EleutherAI/pythia-70m-deduped", {"a": b"1"}, "step0")
    fault_hub.add("allenai/ai2_arc", {"a": b"1"}, kind="datasets")
    with pytest.raises(
        TransferError, match="hub baber/piqa at main: responded with 404: no such repository, or access denied"
    ):
        require_places(places_of_run(run))
    fault_hub.add("baber/piqa", {"a": b"1"}, kind="datasets")
    require_places(places_of_run(run))
    fault_hub.faults["*"] = Fault(status=403, headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(TransferError, match="set HF_TOKEN or run `hf auth login`, and accept the terms"):
        require_places(places_of_run(run))


def test_a_gated_set_whose_list_is_open_asks_for_a_token_that_opens_it(fault_hub, monkeypatch):
    fault_hub.add("org/gated", {"a": b"1"}, kind="datasets")
    fault_hub.gated["datasets/org/gated"] = "hf_right"
    place = Place("hub", fault_hub.endpoint, "dataset", "org/gated")
    for token in ("", "hf_wrong"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(TransferError, match=r"hub org/gated at main: a gated repository; set HF_TOKEN or run"):
            require_places([place])
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    require_places([place])


@contextlib.contextmanager
def black_hole():
    """A port that takes no connection and refuses none: its queue is full."""
    with socket.socket() as server, contextlib.ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("source", ["hub", "git-lfs", "raw"])
def test_a_place_that_refuses_or_swallows_connections_is_said_with_the_ways_out(source, fault_hub, monkeypatch):
    monkeypatch.setattr(readiness, "SILENCE", 0.3)
    with black_hole() as swallowing:
        for location, words in ((swallowing, "timed out"), ("http://127.0.0.1:9", "Connection refused")):
            with pytest.raises(
                TransferError, match=f"no connection, .*{words}.*source: mirror.*offline-cluster"
            ) as caught:
                require_places([Place(source, location, "dataset", "org/name")])
            assert str(caught.value).count("offline-cluster") == 1


def test_a_place_that_answers_anything_is_there_and_a_silent_one_is_asked_once(fault_hub, monkeypatch):
    monkeypatch.setattr(readiness, "SILENCE", 0.3)
    require_places(
        [Place("git-lfs", fault_hub.endpoint, "dataset", "org/name"), Place("git-lfs", "/a/clone", "dataset", "")]
    )
    assert [request.method for request in fault_hub.requests] == ["HEAD"]
    fault_hub.faults["*"] = Fault(status=503)
    require_places([Place("hub", fault_hub.endpoint, "dataset", name) for name in ("org/a", "org/b")])
    assert len(fault_hub.requests) == 2


def test_jobs_of_texts_of_bias_and_of_the_corpus_are_asked_for_too(root, tmp_path, monkeypatch):
    books = check.load_run_file(root / "config/runs/books.yaml")
    texts = Place("raw", "https://raw.githubusercontent.com", "dataset", "texts")
    assert places_of_jobs(books, [("fetch_book", {"text": "a.txt"}), ("fetch_book", {"text": "b.txt"})]) == [texts]
    winobias = Place("git-lfs", "https://github.com/uclanlp/corefBias", "dataset", "uclanlp/corefBias")
    assert places_of_jobs(books, [("fetch_winobias", {})]) == [winobias]
    suite = check.load_run_file(root / "config/runs/suite.yaml")
    corpus = Place("hub", "", "dataset", suite.suite.dataset("deduped").repository)
    assert places_of_jobs(suite, [("list_dataset_files", {"dataset": "deduped"})]) == [corpus]
    original = replace(books, settings={**books.settings, "published": {"repository": "https://git.example/p"}})
    published = Place("git-lfs", "https://git.example/p", "dataset", "EleutherAI/pythia")
    assert places_of_jobs(original, [("download_published", {})]) == [published]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(root / "config")
    assert texts in places_of_run(books)


def test_an_offline_switch_is_said_with_the_ways_out(fault_hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(TransferError, match=r"offline \(HF_HUB_OFFLINE is set\).*source: mirror.*offline-cluster"):
        require_places([Place("hub", fault_hub.endpoint, "dataset", "org/name")])
    assert fault_hub.requests == []


def test_a_hub_that_is_busy_is_left_to_the_patience_of_the_jobs(run_of, fault_hub):
    fault_hub.faults["*"] = Fault(status=503)
    require_places(places_of_run(hub_run(run_of, fault_hub.endpoint)))


def test_a_mirror_without_the_data_is_said(run_of, tmp_path):
    run = hub_run(run_of, "http://hub", evaluation={"source": "mirror", "location": str(tmp_path)})
    with pytest.raises(MissingInputError, match=r"datasets/allenai/ai2_arc: no such repository in the mirror"):
        require_places([place for place in places_of_run(run) if place.kind == "dataset"])


def test_a_folder_of_data_that_is_not_there_is_said(run_of, tmp_path):
    readiness.require_folders(run_of(evaluation={"data": [str(tmp_path)]}))
    with pytest.raises(MissingInputError, match=r"evaluation.data: nowhere: no such folder"):
        readiness.require_folders(run_of(evaluation={"data": [str(tmp_path), "nowhere"]}))


OWN = {"mine": {"repository": "me/mine", "chance": 0.5, "metric": "acc", "title": "Mine"}}
YAML = "task: mine  # a comment\nmetric_list:\n  - metric: acc\n"


@pytest.mark.parametrize(
    ("text", "data", "line"),
    [
        (YAML, "me/mine/default/test.parquet", None),
        (YAML.replace("acc", "f1") + "include: other.yaml\n", "me/mine/default/test.parquet", None),
        ("group: 'mine'\naggregate_metric_list:\n  - metric: acc\n", "me/mine/default/test.parquet", None),
        ("task: mine\n", "me/mine/default/test.parquet", None),
        (YAML.replace("mine", "mine2"), "me/mine/default/test.parquet", "own_tasks.mine: no YAML with 'task: mine'"),
        (YAML.replace("acc", "f1"), "me/mine/default/test.parquet", "own_tasks.mine.metric: its YAML has f1, not acc"),
        (YAML, "me/other/default/test.parquet", "own_tasks.mine.repository: no parquet files of me/mine in"),
    ],
)
def test_a_task_of_ones_own_that_lacks_something_is_said(run_of, tmp_path, text, data, line):
    (tmp_path / "mine.yaml").write_text(text)
    (tmp_path / data).parent.mkdir(parents=True)
    (tmp_path / data).touch()
    run = run_of(tasks=["mine"], own_tasks=OWN, evaluation={"data": [str(tmp_path)], "include_path": [str(tmp_path)]})
    with pytest.raises(PipelineError, match=line) if line else contextlib.nullcontext():
        readiness.require_own_tasks(run)


def test_a_folder_of_definitions_that_is_not_there_is_said(run_of):
    with pytest.raises(MissingInputError, match=r"evaluation.include_path: nowhere: no such folder"):
        readiness.require_folders(run_of(evaluation={"include_path": ["nowhere"]}))


def rule(name, *outputs, each=()):
    return SimpleNamespace(
        name=name,
        is_producer=lambda target: target in outputs,
        wildcard_names=set(each),
        has_wildcards=lambda: bool(each),
    )


def test_a_target_is_a_rule_a_file_of_one_or_there_already(run_of, tmp_path):
    run = run_of(steps=[0, 512, 1000])
    rules, files = [rule("report", "results/runs/x/report.html"), rule("figures")], ["results/runs/x/run.json"]
    (tmp_path / "README").touch()
    check_targets(run, ["report", "results/runs/x/report.html", "README"], rules, files)
    with pytest.raises(UnknownNameError, match="unknown target 'figurs'; did you mean 'figures'"):
        check_targets(run, ["figurs"], rules, files)
    with pytest.raises(UnknownNameError, match=r"did you mean 'results/runs/x/run.json'"):
        check_targets(run, ["results/runs/x/runs.json"], rules, files)
    rules.append(rule("seeds", "results/runs/x/seeds.csv", each=("run",)))
    files.append("results/runs/x/seeds.csv")
    with pytest.raises(
        ConfigError, match=r"target seeds: .* for each run; name one .*such as results/runs/x/seeds.csv"
    ):
        check_targets(run, ["seeds"], rules, files)
    with pytest.raises(ConfigError, match="target seeds: this run makes none of its files"):
        check_targets(run, ["seeds"], rules, files[:1])


@pytest.mark.parametrize("family", ["scores", "checkpoints", "probes", "quickstart"])
def test_a_target_of_a_step_or_model_that_the_run_lacks_gets_the_nearest(run_of, family):
    run, model = run_of(steps=[0, 512, 1000]), "pythia-70m-deduped"
    anything = SimpleNamespace(name="any", is_producer=lambda target: True)
    check_targets(run, [f"results/{family}/{model}/step512/0-shot.json"], [anything], [])
    with pytest.raises(ConfigError, match=f"run one-pythia-model has no step513 of {model}; the nearest is step512"):
        check_targets(run, [f"results/{family}/{model}/step513/0-shot.json"], [anything], [])
    with pytest.raises(UnknownNameError, match=f"model of run one-pythia-model 'pythia-70m'; did you mean '{model}'"):
        check_targets(run, [f"results/{family}/pythia-70m/step512/0-shot.json"], [anything], [])


def test_check_and_plan_say_what_is_missing_and_end_well(root, tmp_path, monkeypatch, capsys, fault_hub):
    monkeypatch.chdir(root)
    config = tmp_path / "run.yaml"
    text = (
        (root / "config/runs/one-pythia-model.yaml")
        .read_text(encoding="utf-8")
        .replace("location: null", f"location: {NOWHERE}")
    )
    config.write_text(f"{text}evaluation: {{location: '{NOWHERE}'}}\n")
    from workflow_scripts.workflow import plan

    for program in (check, plan):
        assert cli.run(program.main, ["--config", str(config)]) == 0
        said = capsys.readouterr().out
        assert "\nnot ready: hub EleutherAI/pythia-70m-deduped at main: no connection" in said
    assert cli.run(check.main, []) == 0
    assert "not ready" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        ("interventions", {"declaration": "pronoun"}, "unknown declaration of interventions 'pronoun'; did you mean"),
        ("interventions", {"arms": ["gender-swop"]}, "unknown arm 'gender-swop'"),
        ("interventions", {"models": ["pocket-9m"]}, "interventions.models: the run has none of pocket-9m"),
        ("term_frequency", {"terms": "pokket"}, "unknown list of terms 'pokket'; did you mean 'pocket'?"),
    ],
)
def test_names_of_experiments_that_do_not_exist_are_refused(root, section, settings, message):
    run = check.load_run_file(root / "config/runs/experiments.yaml")
    readiness.require_experiment_names(run)
    changed = replace(run, settings={**run.settings, section: {**run.section(section), **settings}})
    with pytest.raises(ConfigError, match=re.escape(message)):
        readiness.require_experiment_names(changed)


@pytest.mark.slow
def test_a_rule_of_ones_own_below_the_snakefile_is_a_target(root, tmp_path):
    place = make_place(tmp_path / "place")
    (place / "Snakefile").unlink()
    own = '\n\nrule my_table:\n    output:\n        "results/mine/table.csv",\n    shell:\n        "touch {output:q}"\n'
    for target in ("my_table", "results/mine/table.csv"):
        (place / "Snakefile").write_text((root / "Snakefile").read_text() + own)
        done = snakemake(place, "-n", target)
        assert (done.returncode, "1  my_table" in done.stdout + done.stderr) == (0, True), done.stderr
        (place / "Snakefile").write_text((root / "Snakefile").read_text())
        done = snakemake(place, "-n", target)
        assert (done.returncode, f"unknown target '{target}'" in done.stderr) == (cli.USER_ERROR, True), done.stderr


@pytest.mark.parametrize("suite", ["olmo2", "amber"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "data",
            "data is not possible for suite SUITE: it does not say which pretokenised data its models were trained",
        ),
        ("retrain", "retrain is not possible for suite SUITE: it does not say which pretokenised data"),
        (
            "published",
            "published is not possible for suite SUITE: it names no results that its authors published (key `",
        ),
        ("dynamics", "dynamics is not possible for suite SUITE"),
    ],
)
def test_a_stage_without_its_facts_is_refused_to_who_asks_for_it(root, suite, name, message):
    run = check.load_run_file(root / f"config/runs/{suite}.yaml")
    readiness.check_targets(run, ["report"], [rule("report")], [])
    with pytest.raises(ConfigError, match=re.escape(message.replace("SUITE", suite))):
        readiness.check_targets(run, [name], [rule(name)], [])
    asked = replace(run, settings={**run.settings, "experiments": ["dynamics"]})
    with pytest.raises(ConfigError, match=f"dynamics is not possible for suite {suite}"):
        readiness.require_experiment_names(asked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "llama"}, "it reads the weights of a gpt_neox, and pocket-1m is a llama"),
        (
            {"lr_schedule": None, "data_seed": None},
            "it does not say the lr_schedule, data_seed of the training (keys of",
        ),
    ],
)
def test_an_experiment_needs_a_known_network_and_training(root, change, message):
    run = check.load_run_file(root / "config/runs/one-model.yaml")
    readiness.refuse_without_facts(run, "memorization")
    changed = replace(run, models=(replace(run.models[0], **change),))
    with pytest.raises(ConfigError, match=re.escape(message)):
        readiness.refuse_without_facts(changed, "memorization")
    readiness.refuse_without_facts(changed, "scaling")
