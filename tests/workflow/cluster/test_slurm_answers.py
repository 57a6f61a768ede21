"""What Slurm's programs print, read; and outages told from refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.workflow.cluster import slurm_answers
from workflow_scripts.workflow.cluster.slurm_answers import QueuedJob, ask, passes, read_accounts, read_queue

# As Slurm 22.05 and 23.11 print them.
AWAY = (
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    "sbatch: error: Batch job submission failed: Transport endpoint is not connected",
    "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "sbatch: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:x: refused",
    "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
    "sbatch: error: Munge encode failed: Failed to access munge.sock: No such file or directory",
    "sbatch: error: AssocMaxSubmitJobLimit",
)
REFUSED = (
    "sbatch: error: invalid partition specified: gpus",
    "sbatch: error: Batch job submission failed: Requested node configuration is not available",
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
    "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
    "sbatch: error: Memory specification can not be satisfied",
)


@pytest.mark.parametrize("reason", AWAY)
def test_an_outage_passes(reason):
    assert passes(reason)


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_does_not_pass(reason):
    assert not passes(reason)


WORD = st.text(st.characters(blacklist_characters="|\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", codec="utf-8"))
LINES = st.lists(st.tuples(st.integers(1, 10**9).map(str), WORD, WORD, WORD, WORD, WORD), unique_by=lambda row: row[0])


@given(LINES)
def test_every_line_of_the_queue_is_read(rows):
    read = read_queue("".join("|".join(row) + "\n" for row in rows))
    assert list(read.values()) == [QueuedJob(*row) for row in rows]


@given(st.text())
def test_any_text_is_read_or_passed_over(text):
    read_queue(text), read_accounts(text)


def test_who_cancelled_a_job_is_no_part_of_its_state():
    assert read_accounts("7|CANCELLED by 1000|n1\n8|COMPLETED|n2\n")["7"].state == "CANCELLED"


def test_a_program_that_hangs_or_is_missing_is_an_answer(tmp_path, monkeypatch):
    text, reason = ask(["sleep", "9"], seconds=0.1)
    assert (text, reason) == ("", "no answer within 0.1 s")
    assert passes(reason)
    assert ask(["no-such-program"]) == ("", "no-such-program: No such file or directory")
    assert ask(["false"]) == ("", "exit code 1")
    assert ask(["cat"], "script\n") == ("script\n", "")


def test_nodes_out_of_service_are_named_shortly(monkeypatch):
    lines = "".join(f"n{number} (drained: disk)\n" for number in range(6))
    monkeypatch.setattr(slurm_answers, "ask", lambda command: (lines, ""))
    said = slurm_answers.nodes_out_of_service()
    assert said == "n0 (drained: disk), n1 (drained: disk), n2 (drained: disk), n3 (drained: disk) and 2 more"
