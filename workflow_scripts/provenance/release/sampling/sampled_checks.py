"""All kinds of sampled checks of a release, run within a budget of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.errors import DataError, PipelineError
from workflow_scripts.json_values import read_object
from workflow_scripts.provenance.release.manifest import Manifest
from workflow_scripts.provenance.release.sampling.evaluated_files import Evaluations
from workflow_scripts.provenance.release.sampling.fetched_weights import Fetcher
from workflow_scripts.provenance.release.sampling.memorized_rows import MemorizedRows
from workflow_scripts.provenance.release.sampling.published_weights import PublishedWeights
from workflow_scripts.provenance.release.sampling.rebuilt_plans import RebuiltPlans
from workflow_scripts.provenance.release.sampling.release_files import FOREIGN, Release
from workflow_scripts.provenance.release.sampling.sample_result import SampleResult
from workflow_scripts.provenance.release.sampling.sampler import (
    MALFORMED,
    Budget,
    Report,
    Sampler,
    run_samplers,
    said,
)
from workflow_scripts.provenance.release.sampling.scored_documents import Documents, Scores
from workflow_scripts.provenance.release.sampling.seeded_draw import Draw
from workflow_scripts.provenance.release.sampling.stored_scores import StoredScores
from workflow_scripts.provenance.release.sampling.trained_steps import Losses, Updates, trainings_of
from workflow_scripts.provenance.release.sampling.walked_rows import RUN, WalkedRows


def sample(
    manifest: Manifest,
    root: Path,
    seed: str,
    budget_seconds: float,
    report: Report,
    *,
    whole: float | None = None,
    fetcher: Fetcher | None = None,
) -> list[SampleResult]:
    """Recompute what ``seed`` draws of the release in the folder ``root``, within a budget of time.

    ``whole`` is the budget of the verification, of which ``budget_seconds`` are left: it alone decides which items are
    too dear, so that the same seed and budget draw the same items. The files must have been compared with the manifest:
    what they say of themselves is believed. ``report`` is told a sentence for each kind. Without ``fetcher`` nothing is
    fetched. Raises DataError for files that are not readable.
    """
    budget = Budget(budget_seconds, budget_seconds if whole is None else whole)
    try:
        samplers = samplers_of(Release.of(manifest, root), fetcher)
    except PipelineError:
        raise
    except MALFORMED as error:
        raise DataError(f"its files are not what their formats promise: {said(error)}") from error
    return run_samplers(samplers, Draw(manifest.root, seed), budget, report)


def samplers_of(release: Release, fetcher: Fetcher | None = None) -> Sequence[Sampler]:
    """Every kind of item."""
    evaluations = Evaluations(release, fetcher, sizes_of(release))
    trainings = trainings_of(release)
    return [
        StoredScores(evaluations),
        RebuiltPlans(release),
        Documents(evaluations),
        Scores(evaluations),
        WalkedRows(release),
        PublishedWeights(*trainings),
        Losses(*trainings),
        Updates(*trainings),
        MemorizedRows(evaluations),
    ]


def sizes_of(release: Release) -> dict[str, int]:
    """Number of weights of each model, as the run says."""
    runs = [release.place(match[0]) for match in release.matching(RUN) if release.has(match[0])]
    models = [model for path in runs for model in read_object(path, "run file", FOREIGN, "models")["models"]]
    return {str(model["name"]): int(model.get("parameters") or 0) for model in models}
