"""A finished run with real files: pocket models are trained, scored and experimented with for real.

It takes about five CPU-minutes, so all tests of its file share it and leave it as they found it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import yaml

import workflow_scripts
from tests.workflow.file_trace import COMMAND, files_of_jobs, reason_not_to_trace
from tests.workflow.finished_run import COPIED, FinishedRun
from workflow_scripts.suite.safe_yaml import load_yaml

CONFIGURATION = "config/config.yaml"


def merged(defaults, changes):
    """``defaults`` with ``changes``, section by section, as Snakemake merges configuration files."""
    deeper = {
        key: merged(defaults.get(key) or {}, value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return {**defaults, **deeper}


class RealRun(FinishedRun):
    """A run in ``folder``; :attr:`opened` is what each job opened, by its log (empty where nothing can be traced)."""

    def __init__(self, folder, root, targets=(), **config):
        self.folder, self.targets, self.config = folder, set(targets), {}
        for name in (*COPIED, "profiles"):
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(root / "Snakefile", folder / "Snakefile")
        # The whole run in one file: of several, generated unit tests would take the default last.
        defaults = load_yaml(root / CONFIGURATION)
        (folder / CONFIGURATION).write_text(yaml.safe_dump(merged(defaults, config), sort_keys=False))
        trace = folder / "trace.txt"
        tracer = [] if reason_not_to_trace() else [*COMMAND, "-o", str(trace)]
        done = self.snakemake(*targets, tracer=tracer)
        assert done.returncode == 0, done.stdout + done.stderr
        self.opened = {}
        if tracer:
            with trace.open(errors="replace") as lines:
                self.opened = files_of_jobs(lines, folder)
            trace.unlink()

    def jobs(self, *arguments, **options):
        """As in the base class: planned in this process, whose package is that of the checkout."""
        init = self.folder / "workflow_scripts/__init__.py"
        own = init.read_bytes()
        init.unlink()
        init.symlink_to(workflow_scripts.__file__)  # rules/checkout.smk looks at this file
        try:
            return super().jobs(*arguments, **options)
        finally:
            init.unlink()
            init.write_bytes(own)

    def snakemake(self, *arguments, tracer=()):
        """Run ``snakemake`` in the folder on its run."""
        return self.start("snakemake", "--cores", "2", *arguments, tracer=tracer)

    def start(self, module, *arguments, tracer=()):
        """Run a module of Python in the folder, which has the folder's code."""
        code = [str(self.folder), str(self.folder / "workflow_scripts/snakemake_plugins")]
        return subprocess.run(
            [*tracer, sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(code), "XDG_CACHE_HOME": str(self.folder / ".cache")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
