"""Every program of the stage refuses a patience that means nothing, before it asks anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from workflow_scripts import cli
from workflow_scripts.checkpoints import fetch, ledger, observe

PLACE = ("--source", "mirror", "--location", "nowhere")
PROGRAMS: dict[str, tuple[Callable[[Sequence[str] | None], None], tuple[str, ...]]] = {
    "fetch": (fetch.main, ("--repository", "o/m", "--step", "1", "--output-dir", "out", "--receipt", "out.json")),
    "ledger": (ledger.main, ("--suite", "pocket", "--ledger", "out.tsv")),
    "observe": (observe.main, ("--suite", "pocket", "--model", "pocket-90k", "--output", "out.json")),
}


@pytest.mark.parametrize("patience", [("--attempts", "0"), ("--stall-seconds", "0"), ("--stall-seconds", "nan")])
@pytest.mark.parametrize("program", PROGRAMS)
def test_impossible_patience_is_one_line(
    program: str,
    patience: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main, arguments = PROGRAMS[program]
    monkeypatch.chdir(tmp_path)
    assert cli.run(main, [*PLACE, *arguments, *patience]) == cli.USER_ERROR
    assert "--attempts must be at least 1 and --stall-seconds above 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
