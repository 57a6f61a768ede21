"""A bare clone of this project with an empty home, and the shipped run of one Pythia model in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.workflow.evaluation_hub import MODEL, STEPS

NOWHERE = "http://no-such-host.invalid"
RUN = "one-pythia-model"
FIGURES = ("five_shot_minus_zero_shot", "published_piqa", "scores_over_training")


class Clone:
    """A bare clone of this project, an empty home, and nothing of this shell's environment."""

    def __init__(self, root: Path, folder: Path) -> None:
        """Clone ``root`` into ``folder``."""
        self.folder, self.home = folder / "pythia", folder / "home"
        self.home.mkdir()
        subprocess.run(["git", "clone", "--quiet", str(root), str(self.folder)], check=True)

    def snakemake(
        self, endpoint: str, *targets: str, steps: Sequence[int] = STEPS, more: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the shipped configuration with ``steps``, one document of each task, and ``more`` settings."""
        settings = [
            f"steps={list(steps)}",
            "evaluation={limit: 1, crosscheck_documents: 1}",
            f"figures={list(FIGURES)}",
            *more,
        ]
        command = ["-c2", "--configfile", f"config/runs/{RUN}.yaml", "--config", *settings]
        return self.python(endpoint, "snakemake", *command, "--", *targets)

    def python(self, endpoint: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``module`` in the clone with a Hub at ``endpoint``."""
        code = [str(self.folder), str(self.folder / "workflow_scripts" / "snakemake_plugins")]
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
        environment = {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", "HF_ENDPOINT": endpoint}
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=environment | {"PYTHONPATH": os.pathsep.join(code)},
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
        )

    def scores(self, step: int, shots: int) -> dict[str, Any]:
        """Results of one checkpoint."""
        path = self.folder / "results" / "scores" / MODEL / f"step{step}" / f"{shots}-shot.json"
        scores: dict[str, Any] = json.loads(path.read_text())
        return scores
