"""The audit finds every planted defect, names the right checkpoint, and finds nothing where nothing was planted."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
from checkpoint_mirror import files_of, revisions_of, weight_bytes, weights, write_revision
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.checkpoints import audit, ledger, observe
from workflow_scripts.checkpoints.defect_table import read_defects
from workflow_scripts.checkpoints.inspection import Observation, tensor_problems
from workflow_scripts.checkpoints.ledger_file import Ledger, read_ledger
from workflow_scripts.checkpoints.neighbour_fit import neighbours, outliers
from workflow_scripts.checkpoints.revision_defects import Seen, all_defects
from workflow_scripts.checkpoints.safetensors_header import FIRST_READ, Tensor, parse_header, read_header
from workflow_scripts.checkpoints.tensor_samples import MATRICES, Sample, chosen_tensors, merged, middle, summary
from workflow_scripts.errors import DataError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.suite.run import changed_suite
from workflow_scripts.training.tensor_shapes import tensor_shapes

SUITE = load_suite("pocket")
MODEL, TWIN = SUITE.model("pocket-90k"), SUITE.model("pocket-90k-deduped")
LAYER = "gpt_neox.layers.1."


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A mirror of two models that share a seed, and the ledger of it."""
    place = tmp_path_factory.mktemp("clean")
    for model, seed in ((MODEL, 0), (TWIN, 1)):
        for revision, files in revisions_of(model, seed).items():
            write_revision(place / "mirror", model.repository, revision, files)
    made = ["--suite", "pocket", "--models", MODEL.name, TWIN.name, "--source", "mirror"]
    assert cli.run(ledger.main, [*made, "--location", str(place / "mirror"), "--ledger", str(place / "l.tsv")]) == 0
    return place


@pytest.fixture
def place(clean, tmp_path):
    """A copy to plant something in."""
    shutil.copytree(clean, tmp_path / "copy")
    return tmp_path / "copy"


def plant(place, step, files, model=MODEL):
    revision = step if step == "main" else f"step{step}"
    shutil.rmtree(place / "mirror/models" / model.repository / revision)
    write_revision(place / "mirror", model.repository, revision, files)


def found(place, *more, source="mirror", location=None):
    """Run both programs; returns (model, revision, kind) of every defect."""
    paths = []
    for model in (MODEL, TWIN):
        paths.append(str(place / f"{model.name}.json"))
        common = ["--suite", "pocket", "--model", model.name, "--source", source]
        common += ["--location", location or str(place / "mirror"), "--output", paths[-1]]
        assert cli.run(observe.main, common) == 0
    assert cli.run(audit.main, ["--observed", *paths, "--output", str(place / "defects.tsv"), *more]) == 0
    return {(d.model, d.revision, d.kind) for d in read_defects(place / "defects.tsv")}


def test_a_clean_mirror_has_no_defect(place):
    assert found(place, "--ledger", str(place / "l.tsv")) == set()


@pytest.mark.parametrize(("wrong", "right"), [(64, 8), (8, 512), (256, 128), (600, 16), (2, 64)])
def test_a_duplicated_branch_is_named_and_not_its_origin(place, wrong, right):
    plant(place, wrong, files_of(MODEL, weight_bytes(weights(MODEL, right))))
    named = {(MODEL.name, f"step{wrong}", "duplicate")}
    assert found(place) == (named | {(MODEL.name, "main", "final-differs")} if wrong == 600 else named)


def test_the_first_two_steps_may_be_equal(place):
    plant(place, 1, files_of(MODEL, weight_bytes(weights(MODEL, 0))))
    assert found(place) == set()


@pytest.mark.parametrize(("wrong", "right"), [(64, 8), (8, 256), (128, 256)])
def test_a_chimera_of_two_steps_is_named_and_not_its_parts(place, wrong, right):
    mixed, other = weights(MODEL, wrong), weights(MODEL, right)
    mixed |= {name: tensor for name, tensor in other.items() if name.startswith(LAYER)}
    plant(place, wrong, files_of(MODEL, weight_bytes(mixed)))
    assert found(place) == {(MODEL.name, f"step{wrong}", "chimera")}


def test_one_foreign_tensor_is_enough(place):
    mixed = weights(MODEL, 64)
    name = f"{LAYER}mlp.dense_4h_to_h.weight"
    plant(place, 64, files_of(MODEL, weight_bytes({**mixed, name: weights(MODEL, 16)[name]})))
    assert found(place) == {(MODEL.name, "step64", "chimera")}


def test_a_missing_step(place):
    shutil.rmtree(place / "mirror/models" / MODEL.repository / "step32")
    assert found(place) == {(MODEL.name, "step32", "missing")}


@pytest.mark.parametrize("keep", [0, 5, 1000, 300_000])
def test_a_truncated_file(place, keep):
    path = place / "mirror/models" / MODEL.repository / "step16/model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    kinds = {kind for model, revision, kind in found(place) if (model, revision) == (MODEL.name, "step16")}
    assert "size" in kinds
    assert {(model, revision) for model, revision, _ in found(place)} == {(MODEL.name, "step16")}


@pytest.mark.parametrize("name", ["gpt_neox.layers.0.attention.dense.weight", "gpt_neox.final_layer_norm.bias"])
def test_a_tensor_of_nan(place, name):
    broken = weights(MODEL, 128)
    broken[name] = np.full_like(broken[name], np.nan)
    plant(place, 128, files_of(MODEL, weight_bytes(broken)))
    assert found(place) == {(MODEL.name, "step128", "nan")}


def test_a_main_that_is_not_the_last_step(place):
    plant(place, "main", files_of(MODEL, weight_bytes(weights(MODEL, 600.5))))
    assert found(place) == {(MODEL.name, "main", "final-differs")}


def test_a_moved_branch(place):
    plant(place, 64, files_of(MODEL, weight_bytes(weights(MODEL, 64.01))))
    assert found(place) == set()
    assert found(place, "--ledger", str(place / "l.tsv")) == {(MODEL.name, "step64", "moved")}


def test_another_models_checkpoint_is_named_where_it_does_not_belong(place):
    plant(place, 64, files_of(TWIN, weight_bytes(weights(MODEL, 64))), TWIN)
    assert found(place) == {(TWIN.name, "step64", "duplicate")}


def test_starts_that_differ_despite_one_seed(place):
    changed = {name: tensor * np.float32(1.001) for name, tensor in weights(TWIN, 0).items()}
    plant(place, 0, files_of(TWIN, weight_bytes(changed)), TWIN)
    assert found(place) == {(name, "step0", "start-differs") for name in (MODEL.name, TWIN.name)}


def test_norms_that_jump(place):
    plant(place, 32, files_of(MODEL, weight_bytes({n: t * np.float32(1.5) for n, t in weights(MODEL, 32).items()})))
    assert found(place) == {(MODEL.name, "step32", "outlier")}


def test_missing_misshapen_and_mistyped_tensors(place):
    made = weights(MODEL, 16)
    lost = made.pop("embed_out.weight")
    plant(place, 16, files_of(MODEL, weight_bytes(made)))
    plant(place, 32, files_of(MODEL, weight_bytes({**weights(MODEL, 32), "embed_out.weight": lost[:-1]})))
    plant(place, 64, files_of(MODEL, weight_bytes({n: t.astype(np.float16) for n, t in weights(MODEL, 64).items()})))
    old = {"gpt_neox.layers.0.attention.bias": np.ones((1, 1, 4, 4), np.uint8), "lm_head.weight": lost}
    renamed = {n: t for n, t in weights(MODEL, 128).items() if n != "embed_out.weight"}
    plant(place, 128, files_of(MODEL, weight_bytes({**renamed, **old})))
    assert found(place) == {
        (MODEL.name, "step16", "tensors"),
        (MODEL.name, "step32", "tensors"),
        (MODEL.name, "step64", "dtype"),
    }


def test_a_revision_without_weights_or_with_a_damaged_header(place):
    plant(place, 16, {"config.json": b"{}", "tokenizer.json": b"{}"})
    plant(place, 32, files_of(MODEL, b"\xff" * 2000))
    kinds = found(place)
    assert (MODEL.name, "step16", "files") in kinds
    assert (MODEL.name, "step32", "header") in kinds
    assert {revision for _, revision, _ in kinds} == {"step16", "step32"}


def test_all_defects_at_once_and_nothing_else(place):
    mixed = {**weights(MODEL, 256), **{n: t for n, t in weights(MODEL, 64).items() if n.startswith(LAYER)}}
    plant(place, 256, files_of(MODEL, weight_bytes(mixed)))
    plant(place, 8, files_of(MODEL, weight_bytes(weights(MODEL, 128))))
    shutil.rmtree(place / "mirror/models" / TWIN.repository / "step32")
    path = place / "mirror/models" / TWIN.repository / "step4/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    plant(place, 256, files_of(TWIN, weight_bytes({**weights(TWIN, 256, 1), "embed_out.weight":
          np.full((1024, 32), np.nan, np.float32)})), TWIN)  # fmt: skip
    plant(place, "main", files_of(TWIN, weight_bytes(weights(TWIN, 599, 1))), TWIN)
    plant(place, 16, files_of(TWIN, weight_bytes(weights(TWIN, 16.01, 1))), TWIN)
    moved = {(m, r) for m, r, kind in found(place, "--ledger", str(place / "l.tsv")) if kind == "moved"}
    others = {item for item in found(place, "--ledger", str(place / "l.tsv")) if item[2] != "moved"}
    assert (TWIN.name, "step16") in moved
    assert others == {
        (MODEL.name, "step256", "chimera"),
        (MODEL.name, "step8", "duplicate"),
        (TWIN.name, "step32", "missing"),
        (TWIN.name, "step4", "size"),
        (TWIN.name, "step256", "nan"),
        (TWIN.name, "main", "final-differs"),
    }


def test_through_the_hub_the_same_is_seen_and_traffic_is_counted(place, fault_hub):
    plant(place, 8, files_of(MODEL, weight_bytes(weights(MODEL, 128))))
    for model in (MODEL, TWIN):
        for folder in (place / "mirror/models" / model.repository).iterdir():
            files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "sha256.txt"}
            fault_hub.add(model.repository, files, folder.name)
    assert found(place, source="hub", location=fault_hub.endpoint) == {(MODEL.name, "step8", "duplicate")}
    told = sum(json.loads((place / f"{m.name}.json").read_text())["traffic"]["requests"] for m in (MODEL, TWIN))
    assert told == fault_hub.count("/api/") + fault_hub.count("/cdn/"), "redirects of the Hub do not count"


def test_an_interrupted_observation_goes_on(place, tmp_path, monkeypatch):
    asked = []
    inspect = observe.inspect_revision

    def breaks(model, source, commit, samples):
        asked.append(commit)
        if len(asked) == 12:
            raise KeyboardInterrupt
        return inspect(model, source, commit, samples)

    monkeypatch.setattr(observe, "inspect_revision", breaks)
    monkeypatch.setattr(observe, "SAVE_EVERY", 5)
    common = ["--suite", "pocket", "--model", MODEL.name, "--source", "mirror"]
    common += ["--location", str(place / "mirror"), "--output", str(tmp_path / "o.json")]
    assert cli.run(observe.main, common) == cli.INTERRUPTED
    assert cli.run(observe.main, common) == 0
    assert len(asked) == 12 + (len(MODEL.steps) + 1 - 10)
    assert not list(tmp_path.glob(".o.json*"))


class Giant:
    """A file with a header and no content: counts what is asked of it."""

    def __init__(self, header):
        self.header, self.requests, self.bytes = header, 0, 0

    def read_range(self, path, offset, length):
        self.requests += 1
        self.bytes += length
        return self.header[offset : offset + length].ljust(length, b"\x3c")


def test_the_traffic_of_the_largest_model_is_far_below_half_a_percent():
    model = load_suite("pythia").model("pythia-12b")
    offset, listed = 0, {}
    for name, shape in sorted(tensor_shapes(model.layers, model.hidden_size, model.vocab_size).items()):
        size = 2 * int(np.prod(shape))
        listed[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(listed).encode()
    source = Giant(len(text).to_bytes(8, "little") + text)
    header = read_header(source, "model.safetensors", 8 + len(text) + offset)
    chosen = chosen_tensors(list(header.tensors), model.layers, observe.SAMPLES)
    for begin, end in merged([middle(header.tensors[name]) for name in chosen]):
        source.read_range("model.safetensors", begin, end - begin)
    first = {".".join(name.split(".")[3:]) for name in chosen[2 : 2 + model.layers]}
    assert first == set(MATRICES), "one matrix of each layer, of all kinds"
    assert middle(Tensor("F16", (100, 100), 500, 20_500)) == (500 + 2 * 4488, 500 + 2 * 5512)
    revisions = len(model.steps) + 1
    assert {name.split(".")[2] for name in chosen if ".layers." in name} == {str(n) for n in range(model.layers)}
    assert revisions * source.bytes < 0.005 * revisions * offset
    assert revisions * source.bytes < 60e6
    assert revisions * (source.requests + 1) < 11_000


HEADER = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_offsets": [4, 12]}, "does not start where"),
        ({"data_offsets": [0, 4]}, "has a wrong length"),
        ({"dtype": "X9"}, "x: tensor type X9 is not supported; supported are F64"),
        ({"dtype": 7}, "not a safetensors header"),
        ({"shape": [-2]}, "not whole"),
        ({"shape": [True]}, "not whole"),
        ({"data_offsets": [0]}, "ValueError"),
    ],
)
def test_a_header_that_does_not_fit_together_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        parse_header(json.dumps({"a": {**HEADER["a"], **change}}).encode(), "x")


@pytest.mark.parametrize(("dtype", "size"), [("F8_E4M3", 2), ("F8_E5M2", 2), ("U16", 4), ("U32", 8), ("U64", 16)])
def test_types_that_no_released_model_has_are_read_and_not_called_damage(dtype, size):
    header = parse_header(json.dumps({"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, size]}}).encode(), "x")
    assert header.tensors["a"].dtype == dtype


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(max_size=80), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
    lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_bytes_are_a_header_or_a_data_error(content):
    try:
        parse_header(content, "x")
    except DataError as error:
        assert "x" in str(error)


def test_fault_40_a_header_bomb_reads_little():
    """A header that claims gigabytes: refused after the first read of 64 kB."""
    source = Giant((2**62).to_bytes(8, "little"))
    with pytest.raises(DataError, match="it is damaged"):
        read_header(source, "x", 10**9)
    assert source.bytes <= FIRST_READ


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 500)).map(lambda p: (p[0], p[0] + p[1])), min_size=1))
def test_merged_ranges_cover_all_and_do_not_touch(ranges):
    joined = merged(ranges, gap=50)
    assert all(any(begin <= a and b <= end for begin, end in joined) for a, b in ranges)
    assert all(later[0] - earlier[1] > 50 for earlier, later in itertools.pairwise(joined))


def test_samples_of_every_type_of_number():
    exact = np.array([1.5, -2.0, 0.25, 8.0])
    half = (exact.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    contents = {"F64": exact.tobytes(), "F32": exact.astype("<f4").tobytes(), "F16": exact.astype("<f2").tobytes()}
    for dtype, content in {**contents, "BF16": half}.items():
        sample = summary(content, dtype)
        assert sample.sketch == (1.5, -2.0, 0.25, 8.0)
        assert sample.rms == pytest.approx(float(np.sqrt(np.mean(exact**2))), rel=1e-12)
    assert not summary(np.array([1.0, np.inf], "<f4").tobytes(), "F32").finite


def test_neighbours_are_on_both_sides_or_the_two_nearest():
    assert neighbours([0, 1, 2, 4], 1, {1}) == (0, 2)
    assert neighbours([0, 1, 2, 4], 4, {4}) == (1, 2)
    assert neighbours([0, 1, 2, 4], 0, {0, 1}) == (2, 4)
    assert neighbours([0, 1], 0, {0}) is None


def test_a_jump_accuses_the_step_and_not_its_neighbours():
    curve = {step: {"t": Sample("x", 1.0, True, ())} for step in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)}
    curve[4] = {"t": Sample("y", 3.0, True, ())}
    assert set(outliers(curve)) == {4}


def test_shards_of_another_step_show_without_any_sample():
    def bin_only(*hashes):
        return Observation("0" * 40, {f"pytorch_model-0000{n}-of-00002.bin": h for n, h in enumerate(hashes, start=1)})

    seen = {f"step{s}": bin_only(f"a{s}", f"b{s}") for s in MODEL.steps} | {"step8": bin_only("a64", "b8")}
    kinds = {(d.revision, d.kind) for d in all_defects([Seen(MODEL, seen)], Ledger())}
    assert kinds == {("step8", "chimera"), ("step64", "chimera")}


def test_of_three_starts_the_odd_one_is_named():
    third = dataclasses.replace(TWIN, name="third")
    seen = [
        Seen(dataclasses.replace(model, steps=(0,)), {"step0": Observation("0" * 40, {"model.safetensors": digest})})
        for model, digest in ((MODEL, "a"), (TWIN, "a"), (third, "b"))
    ]
    assert {(d.model, d.kind) for d in all_defects(seen, Ledger())} == {("third", "start-differs")}


@pytest.mark.parametrize("seed", [MODEL.weight_seed, MODEL.weight_seed + 1])
def test_a_variant_of_a_run_is_audited_as_what_it_was_trained_from(tmp_path, seed):
    """Its start may differ from that of the model it is made of when its seed does, and only then."""
    changes = {"variants": {"odd": {"of": MODEL.name, "learning_rate": 0.01, "weight_seed": seed}}}
    odd = changed_suite("pocket", changes).model("odd")
    started = dataclasses.replace(odd, weight_seed=MODEL.weight_seed + 1)
    for model, number in ((MODEL, 0), (started, 1)):
        for revision, files in revisions_of(model, number).items():
            write_revision(tmp_path / "mirror", model.repository, revision, files)
    common = ["--suite", "pocket", "--source", "mirror", "--location", str(tmp_path / "mirror")]
    said = ["--changes", json.dumps(changes)]
    paths = [str(tmp_path / f"{name}.json") for name in (MODEL.name, "odd")]
    assert cli.run(observe.main, [*common, "--model", MODEL.name, "--output", paths[0]]) == 0
    assert cli.run(observe.main, [*common, *said, "--model", "odd", "--output", paths[1]]) == 0
    assert cli.run(audit.main, ["--observed", *paths, "--output", str(tmp_path / "d.tsv")]) == 0
    differing = {(MODEL.name, "step0", "start-differs"), ("odd", "step0", "start-differs")}
    found = {(d.model, d.revision, d.kind) for d in read_defects(tmp_path / "d.tsv")}
    assert found == (differing if seed == MODEL.weight_seed else set())
    assert cli.run(ledger.main, [*common, *said, "--models", "odd", "--ledger", str(tmp_path / "l.tsv")]) == 0
    assert set(read_ledger(tmp_path / "l.tsv").of("odd")) == {*(f"step{step}" for step in odd.steps), "main"}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ("{", "--changes: not JSON ("),
        ("[]", "--changes: not a JSON object"),
        ('{"tasks": "all"}', "changes: top level: unknown key 'tasks'"),
        ('{"variants": {"odd": {}}}', "changes: variants.odd: key 'of' is missing"),
        ('{"variants": {"odd": {"of": "pocket-9k"}}}', "unknown model 'pocket-9k'; did you mean 'pocket-90k'?"),
    ],
)
def test_changes_that_no_run_may_hold_are_one_line(tmp_path, capsys, changes, line):
    common = ["--suite", "pocket", "--source", "mirror", "--location", str(tmp_path), "--changes", changes]
    assert cli.run(observe.main, [*common, "--model", "odd", "--output", str(tmp_path / "o.json")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")


def test_revisions_of_other_names_are_judged_under_their_names():
    steps = tuple(range(4))
    names = (*(f"ckpt_{step:03}" for step in steps[:3]), "main")
    model = dataclasses.replace(MODEL, steps=steps, revision_pattern="ckpt_{index:03}", revisions=names)
    seen = {name: Observation("c", {"model.safetensors": f"{place}"}) for place, name in enumerate(names)}
    assert all_defects([Seen(model, seen)], Ledger()) == [], "main is the last step and not another"
    del seen["ckpt_001"]
    seen["main"] = seen["ckpt_002"]
    found = {(defect.revision, defect.kind) for defect in all_defects([Seen(model, seen)], Ledger())}
    assert found == {("ckpt_001", "missing"), ("ckpt_002", "duplicate"), ("main", "duplicate")}


def test_of_another_network_only_the_type_of_its_tensors_is_known():
    llama = dataclasses.replace(MODEL, architecture="llama", published_dtype="float32")
    tensors = {"model.norm.weight": Tensor("F32", (8,), 0, 32), "lm_head.weight": Tensor("F32", (4, 8), 32, 160)}
    assert tensor_problems(llama, tensors) == []
    (problem,) = tensor_problems(dataclasses.replace(llama, published_dtype="float16"), tensors)
    assert problem == ("dtype", "F32 instead of F16 in lm_head.weight, model.norm.weight")
