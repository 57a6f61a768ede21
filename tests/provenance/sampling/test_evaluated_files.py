"""Which scores files can be recomputed here, and what is said of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.provenance.sampling.sampled_release import LAST, MODEL, SCORES, release_of, sealed
from workflow_scripts.errors import IntegrityError
from workflow_scripts.provenance.release.sampling.evaluated_files import Evaluations
from workflow_scripts.provenance.release.sampling.fetched_weights import Fetcher
from workflow_scripts.provenance.release.sampling.sample_result import Verdict
from workflow_scripts.provenance.release.sampling.scored_documents import Documents

WEIGHTS = f"results/mirror/models/made/{MODEL}/step{LAST}/model.safetensors"
GROUP = f"{SCORES} pocket_facts"


def test_weights_are_found_by_their_hashes_wherever_they_lie(forged: Path) -> None:
    checkpoint = forged / f"results/checkpoints/{MODEL}/step{LAST}"
    shutil.copytree((forged / WEIGHTS).parent, checkpoint)
    assert Evaluations(release_of(forged)).files[SCORES].checkpoint == checkpoint
    (checkpoint / "config.json").write_text((checkpoint / "config.json").read_text() + " ")
    assert Evaluations(release_of(forged)).files[SCORES].checkpoint == (forged / WEIGHTS).parent


def test_weights_that_changed_are_refused_when_they_are_read(forged: Path) -> None:
    content = bytearray((forged / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (forged / WEIGHTS).write_bytes(content)
    with pytest.raises(IntegrityError, match="was fetched"):
        list(Documents(Evaluations(release_of(forged))).check(GROUP, [0]))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("weights_sha256", "00", "its weights are not here"),
        ("engine", 2, "version 2 of the engine"),
        ("engine", "lm-eval-hf", "lm-eval's own model"),
        ("dtype", "int4", "int4"),
    ],
)
def test_what_cannot_be_recomputed_is_listed_with_the_reason(
    forged: Path, key: str, value: object, reason: str
) -> None:
    content = json.loads((forged / SCORES).read_text())
    content["config"][key] = value
    (forged / SCORES).write_text(json.dumps(content))
    sampler = Documents(Evaluations(release_of(forged)))
    assert sampler.groups == []
    assert [(each.name, each.items) for each in sampler.not_checked] == [(SCORES, 60)]
    assert reason in sampler.not_checked[0].reason


def test_scores_of_stock_lm_eval_are_listed(forged: Path) -> None:
    shutil.copy(forged / SCORES, (forged / SCORES).with_name("0-shot.stock.json"))
    assert "stock lm-eval" in Documents(Evaluations(release_of(forged))).not_checked[0].reason


def test_weights_are_fetched_only_when_asked_and_only_when_drawn(forged: Path, tmp_path: Path) -> None:
    mirror = forged / "results/mirror"
    mirror.rename(tmp_path / "mirror")
    assert Documents(Evaluations(release_of(forged))).groups == []
    fetcher = Fetcher(tmp_path / "fetched", sealed(forged).ledger, "mirror", str(tmp_path / "mirror"))
    sampler = Documents(Evaluations(release_of(forged), fetcher))
    assert not (tmp_path / "fetched").exists()
    verdicts = {each.verdict for each in sampler.check(GROUP, range(12))}
    assert Verdict.WRONG not in verdicts
    assert (tmp_path / f"fetched/{MODEL}/step{LAST}/model.safetensors").is_file()


def test_fetched_weights_that_are_others_than_were_scored_are_refused(forged: Path, tmp_path: Path) -> None:
    served = tmp_path / f"mirror/models/made/{MODEL}/step{LAST}"
    shutil.copytree(forged / f"results/mirror/models/made/{MODEL}/step4", served)
    shutil.rmtree(forged / "results/mirror")
    fetcher = Fetcher(tmp_path / "fetched", sealed(forged).ledger, "mirror", str(tmp_path / "mirror"))
    with pytest.raises(IntegrityError, match="not those that it says were scored"):
        list(Documents(Evaluations(release_of(forged), fetcher)).check(GROUP, [0]))
