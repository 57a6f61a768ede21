"""What rules/report.smk looks up: the settings of the run as short parameters."""

from __future__ import annotations

import hashlib
import json

from workflow_scripts.suite.run import Run

# Parameter beside the sections: a digest of what the suite's file says about the run's models and tasks.
FACTS = "suite_facts"


def settings_words(run: Run) -> dict[str, str]:
    """Each section of the configuration as one parameter ``NAME=JSON``, so that a plan names the one that changed.

    ``suite_facts`` is among them: it changes when the suite's file says something else, not with a comment in it.
    """
    sections = {**run.settings, FACTS: facts_digest(run)}
    return {name: f"{name}={json.dumps(value, sort_keys=True)}" for name, value in sections.items()}


def facts_digest(run: Run) -> str:
    """Twelve hexadecimal digits over the resolved run without its settings."""
    resolved = {name: value for name, value in run.as_json().items() if name != "settings"}
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()[:12]
