"""The Slurm plugin's executor with patience: it outlives outages of the controller and restarts of Snakemake.

The plugin reports a job as failed when sbatch cannot reach the controller, and forgets all jobs after five queries that
fail within a second. Here a submission waits until Slurm answers and a query that fails changes nothing. The plugin
still chooses partition and account and writes the options of sbatch. ``rules/common.smk`` puts this class in the place
of the plugin's own, so ``executor: slurm`` and the plugin's settings stay what they are. Job arrays are not watched.

A job has a name of its own, with model and step, and a note of what it writes (``submitted_jobs``). When Snakemake ends
by SIGTERM, its jobs continue; the next one adopts those that are what it would submit, and lets a job wait in Slurm's
queue for an older one that writes some of the same files.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from workflow_scripts.workflow.cluster import slurm_answers, submitted_jobs
from workflow_scripts.workflow.cluster.outage import PAUSES, Outage, Quiet
from workflow_scripts.workflow.cluster.slurm_answers import PERHAPS_REQUEUED, QueuedJob
from workflow_scripts.workflow.cluster.submitted_jobs import Note

PLUGIN = "snakemake_executor_plugin_slurm"
LAST_ANSWER = 20.0  # seconds that Slurm has when the run is ending
GRACE_SECONDS = 120.0  # for a job that Slurm does not know, or may put back into the queue
AT_ONCE = 500  # jobs in one call of scancel


class Leaving(Exception):  # noqa: N818 - nothing is wrong
    """The run ends, so nothing more is submitted."""


class PatientExecutor(RemoteExecutor):
    """What differs from the plugin's executor; ``take_over`` joins the two."""

    # Of the plugin's executor:
    slurm_logdir: Path
    _fallback_account_arg: str
    _failed_nodes: set[str]
    _job_submission_executor: ThreadPoolExecutor
    get_account_arg: Callable[[Any], Iterator[str]]
    get_partition_arg: Callable[[Any], str]

    def __init__(self, workflow: Any, logger: Any) -> None:
        """Start without a job; the thread that watches jobs starts in the base class and finds everything here."""
        self.plugin: Any = importlib.import_module(PLUGIN)
        self.leaving = threading.Event()
        self.outage = Outage(logger.warning)
        self.quiet = Quiet(logger.warning)
        self.submitted: dict[str, SubmittedJobInfo] = {}
        self.doubtful: dict[str, float] = {}  # since when a job is unknown to Slurm, or may be put back
        self.earlier: dict[str, Note] | None = None  # jobs of an earlier run that are still live, by number
        self.earlier_lock = threading.Lock()
        self.heeds_signals = False
        super().__init__(workflow, logger)

    # Submission

    def run_jobs(self, jobs: list[Any]) -> None:
        """Submit jobs; the first call, in the main thread, takes SIGTERM over from Snakemake."""
        if not self.heeds_signals and threading.current_thread() is threading.main_thread():
            self.heeds_signals = True
            signal.signal(signal.SIGTERM, self.leave)
            # The plugin guesses with "sacct ... | tail -1", all of it handed to sacct, which refuses it.
            self._fallback_account_arg = ""
        super().run_jobs(jobs)

    def _submit_job(self, job: Any) -> None:
        """Let one of the plugin's threads submit a job, or adopt the one that an earlier run submitted."""
        self.run_job_pre(job)
        self._job_submission_executor.submit(self.submit, job).add_done_callback(partial(self.look_at_submission, job))

    def look_at_submission(self, job: Any, submission: Future[None]) -> None:
        """Report a job that could not be submitted; one that waits while the run ends is left alone."""
        error = None if submission.cancelled() else submission.exception()
        if error and not isinstance(error, Leaving):
            self.report_job_error(SubmittedJobInfo(job), msg=f"not submitted: {' '.join(str(error).split())}")

    def submit(self, job: Any) -> None:
        """Submit a job. Raises WorkflowError when Slurm refuses it, Leaving when the run ends first."""
        key, outputs = submitted_jobs.key_of(job), submitted_jobs.outputs_of(job)
        with self.earlier_lock:
            if self.earlier is None:
                self.earlier = self.live_from_before()
            for number, note in self.earlier.items():
                if note.key == key:
                    del self.earlier[number]
                    self.logger.info(f"Adopted Slurm job {number} of an earlier run ({note.name}).")
                    self.register(job, number, note)
                    return
            rivals = [number for number, note in self.earlier.items() if set(outputs) & set(note.outputs)]
        note = self.write_note(job, key, outputs)
        try:
            command = self.patiently(lambda: (self.command(job, note, rivals), ""))
            script = f"#!/bin/sh\n{self.format_job_exec(job)}\n"
            tries = itertools.count()
            number = self.patiently(lambda: self.sbatch(command, script, note.name, again=next(tries) > 0))
        except WorkflowError:
            note.remove()
            raise
        self.logger.info(f"Job {job.jobid} has been submitted with SLURM jobid {number}.")
        self.register(job, number, note)

    def write_note(self, job: Any, key: str, outputs: list[str]) -> Note:
        """Note what is about to be submitted."""
        kind = "group" if job.is_group() else "rule"
        folder = self.slurm_logdir / f"{kind}_{job.name}" / self.plugin.get_job_wildcards(job)
        folder.mkdir(parents=True, exist_ok=True)
        name = submitted_jobs.name_of(self.workflow.executor_settings.jobname_prefix, job)
        note = Note(name, key, outputs, str(folder / "%j.log"))
        note.write()
        return note

    def command(self, job: Any, note: Note, rivals: list[str]) -> list[str]:
        """The call of sbatch, which the plugin writes; ``rivals`` are jobs that must have ended before."""
        self.plugin.validate_slurm_extra(job)
        kind, wildcards = "group" if job.is_group() else "rule", self.plugin.get_job_wildcards(job)
        parameters = {
            "run_uuid": note.name,
            "slurm_logfile": note.log,
            "comment_str": f"{kind}_{job.name}" + (f"_wildcards_{wildcards}" if wildcards else ""),
            "account": next(self.get_account_arg(job)),
            "partition": self.get_partition_arg(job),
            "workdir": self.workflow.workdir_init,
        }
        settings = self.workflow.executor_settings
        text = self.plugin.get_submit_command(job, parameters, settings=settings, failed_nodes=self._failed_nodes)
        command = shlex.split(text + self.plugin.set_gres_string(job))
        return [*command, f"--dependency=afterany:{':'.join(rivals)}"] if rivals else command

    def sbatch(self, command: list[str], script: str, name: str, *, again: bool) -> tuple[str, str]:
        """Number of the submitted job, and why there is none.

        Where an answer was lost, the controller may have the job: it is looked for before it is submitted ``again``.
        """
        if again:
            found, reason = slurm_answers.queue(os.getuid(), name=name)
            if reason or found:
                return next(iter(found), ""), reason
        text, reason = slurm_answers.ask(command, script)
        if reason:
            return "", reason
        return self.plugin.validate_or_get_slurm_job_id(text.strip().split(";")[0], text), ""

    def patiently(self, question: Callable[[], tuple[Any, str]]) -> Any:
        """Ask until Slurm answers. Raises WorkflowError for a refusal and Leaving when the run ends."""
        tries = 0
        while not self.leaving.is_set():
            try:
                answer, reason = question()
            except WorkflowError as error:
                answer, reason = None, str(error)
            if not reason:
                self.outage.over()
                return answer
            if not slurm_answers.passes(reason):
                raise WorkflowError(reason)
            self.outage.note(reason, len(self.submitted))
            self.leaving.wait(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1
        raise Leaving

    def register(self, job: Any, number: str, note: Note) -> None:
        """Count a job as submitted."""
        log = Path(note.log.replace("%j", number))
        info = SubmittedJobInfo(job, external_jobid=number, aux={"slurm_logfile": log, "note": note})
        self.submitted[number] = info
        self.report_job_submission(info)

    def live_from_before(self) -> dict[str, Note]:
        """Notes of jobs that an earlier run left and that are still live, by number; notes of others are removed."""
        notes = submitted_jobs.read_notes()
        if not notes:
            return {}
        jobs = self.patiently(lambda: slurm_answers.queue(os.getuid()))
        live = {job.number: notes.pop(job.name) for job in jobs.values() if job.is_live and job.name in notes}
        for note in notes.values():
            note.remove()
        if live:
            self.logger.warning(f"{len(live)} Slurm jobs of an earlier run are live: they are adopted or waited for")
        return live

    # Watching

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report the jobs that have ended and yield the others; all of them while Slurm does not answer."""
        self.next_seconds_between_status_checks = self.workflow.executor_settings.init_seconds_before_status_checks
        if not active_jobs:
            return
        jobs = await asyncio.to_thread(self.states, [str(info.external_jobid) for info in active_jobs])
        for info in active_jobs:
            # Of jobs that were cancelled because the run ends nothing is reported.
            if (
                jobs is None
                or self.leaving.is_set()
                or not await self.has_ended(info, jobs.get(str(info.external_jobid)))
            ):
                yield info

    def states(self, numbers: list[str]) -> dict[str, QueuedJob] | None:
        """What Slurm knows of our jobs; None when it does not answer."""
        found, reason = slurm_answers.queue(os.getuid())
        if reason:
            self.outage.note(reason, len(self.submitted))
            self.next_seconds_between_status_checks = min(PAUSES[-1], self.next_seconds_between_status_checks)
            return None
        self.outage.over()
        ours = {number: found[number] for number in numbers if number in found}
        if forgotten := [number for number in numbers if number not in ours]:
            ours |= slurm_answers.accounts(forgotten)
        self.quiet.look(ours)
        return ours

    async def has_ended(self, info: SubmittedJobInfo, job: QueuedJob | None) -> bool:
        """Report a job if it has ended."""
        number = str(info.external_jobid)
        if job and job.is_live:
            self.doubtful.pop(number, None)
            return False
        if job is None or job.state in PERHAPS_REQUEUED:
            since = self.doubtful.setdefault(number, time.monotonic())
            if time.monotonic() - since < GRACE_SECONDS:
                return False
        aux: dict[str, Any] = info.aux or {}
        aux["note"].remove()
        del self.submitted[number]
        if (job.state if job else "") == "COMPLETED" or (job is None and await self.is_complete(info.job)):
            self.report_job_success(info)
            if not self.workflow.executor_settings.keep_successful_logs:
                aux["slurm_logfile"].unlink(missing_ok=True)
            return True
        if job and job.state == "NODE_FAIL" and job.nodes:
            self._failed_nodes.add(job.nodes)
        if job is None or job.state in PERHAPS_REQUEUED:
            await asyncio.to_thread(slurm_answers.ask, ["scancel", number])  # no second writer
        state, place = (job.state, f" on {job.nodes}" if job.nodes else "") if job else ("unknown to Slurm", "")
        if state == "FAILED" and submitted_jobs.ran_out_of_memory(aux["slurm_logfile"]):
            state = "OUT_OF_MEMORY"
        self.report_job_error(info, msg=f"{state}, Slurm job {number}{place}")
        return True

    async def is_complete(self, job: Any) -> bool:
        """True when the Snakemake inside a job, of which Slurm knows nothing any more, ended well."""
        for part in submitted_jobs.members(job):
            if not all(Path(path).exists() for path in part.output) or await self.persistence.incomplete(part):
                return False
        return True

    @property
    def persistence(self) -> Any:
        """Snakemake's marks of unfinished files."""
        return self.dag.workflow.persistence

    async def sleep(self) -> None:
        """Wait until the next look, or until the run ends."""
        until = time.monotonic() + self.next_seconds_between_status_checks
        while time.monotonic() < until and not self.leaving.is_set():
            await asyncio.sleep(0.5)

    # Ends

    def print_job_error(self, job_info: SubmittedJobInfo, msg: str | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Report what failed, why, and what comes next; of a group only the parts that were started."""
        job, aux = job_info.job, job_info.aux or {}
        attempts = f"attempt {job.attempt} of {job.restart_times + 1}"
        reason = [f"{msg}; {attempts}", submitted_jobs.next_attempt(job)]
        logs = [str(aux["slurm_logfile"])] if aux else []
        progress = submitted_jobs.progress_of(job, aux["note"].submitted if aux else time.time())
        if others := [
            f"{len(parts)} {what}"
            for parts, what in ((progress.finished, "finished"), (progress.waiting, "not started"))
            if parts
        ]:
            reason.append(f"of the {len(submitted_jobs.members(job))} in this allocation: {', '.join(others)}")
        for part in progress.broken or progress.waiting[:1] or progress.finished[:1]:
            part.log_error(aux_logs=logs, reason=reason)

    def leave(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGTERM: end within seconds, and let the jobs continue."""
        if not self.leaving.is_set():
            self.leaving.set()
            # Not here, where the main thread may hold the lock that it would wait for.
            threading.Thread(target=self.stop).start()

    def stop(self) -> None:
        """End Snakemake without cancelling anything."""
        scheduler: Any = self.workflow.scheduler
        here = [str(job.name) for job in list(scheduler.running) if job.is_local]
        wait = f"; waiting for {', '.join(here)} on this machine" if here else ""
        scheduler.executor_error_callback(
            WorkflowError(
                f"terminated; {len(self.submitted)} Slurm jobs continue, and the same command adopts them{wait}"
            )
        )

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002 - misses those just looked at
        """Cancel all jobs after Ctrl-C; says so, and what to do if Slurm does not answer."""
        self.leaving.set()
        self.end_submissions()
        numbers = [*self.submitted]
        if not numbers:
            return
        self.logger.warning(f"cancelling {len(numbers)} Slurm jobs")
        for start in range(0, len(numbers), AT_ONCE):
            _, reason = slurm_answers.ask(["scancel", *numbers[start : start + AT_ONCE]], seconds=LAST_ANSWER)
            if reason:
                self.logger.warning(
                    f"the jobs could not be cancelled ({reason}) and continue; the same command adopts them, and "
                    "`make unlock` cancels them once Slurm answers"
                )
                return

    def end_submissions(self) -> None:
        """Wait for the submission that is under way, and drop those that wait."""
        self._job_submission_executor.shutdown(wait=True, cancel_futures=True)

    def shutdown(self) -> None:
        """End the threads."""
        self.leaving.set()
        self.end_submissions()
        super().shutdown()


def take_over() -> None:
    """Let ``executor: slurm`` mean the patient executor, where the plugin is installed."""
    plugin = sys.modules.get(PLUGIN)  # Snakemake imported it with all plugins that it found
    if plugin is None:
        return
    registered = ExecutorPluginRegistry().plugins["slurm"]
    if not issubclass(registered.executor, PatientExecutor):
        registered.executor = type("Executor", (PatientExecutor, plugin.Executor), {})
