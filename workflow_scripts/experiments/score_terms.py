r"""Answers of checkpoints to questions about counted terms, with several numbers of examples before each question.

    python -m workflow_scripts.experiments.score_terms --checkpoint results/checkpoints/pocket-1m/step600 \
        --terms pocket --shots 0 2 4 8 --data-dir results/mirror/datasets --output answers.parquet

One row per checkpoint, task, shots and question: step, task, shots, item, term, control, is_right. A number of shots
whose longest prompt does not fit the model's context is left out of that task and named in the log and the record.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts import cli
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.encode import Encoder, encode_pairs
from workflow_scripts.evaluation.planning.prefix_trees import Forest, pack
from workflow_scripts.evaluation.scoring.engine_choice import read_own_config
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.experiments.engine_options import add_checkpoint_arguments, add_engine_arguments, open_engine
from workflow_scripts.experiments.frequency.questions import Task, load_tasks
from workflow_scripts.experiments.outputs import write_frame
from workflow_scripts.experiments.score_bias import TokenScores
from workflow_scripts.suite.steps import hub_step_of_revision

LOG = logging.getLogger(__name__)
UNLIMITED = 1 << 20  # tokens: prompts are measured before they are refused, never cut


@dataclass(frozen=True)
class Sheet:
    """One task with one number of shots, packed; sequences in the order of the questions, the correct answer first."""

    task: Task
    shots: int
    forest: Forest

    def answers(self, engine: Engine) -> pd.DataFrame:
        """Which questions a checkpoint answers."""
        scores = TokenScores(engine, self.forest)
        rows, first = [], 0
        for question in self.task.questions:
            numbers = range(first, first + len(question.answers))
            first += len(question.answers)
            if len(numbers) == 1:
                is_right = scores.is_greedy(numbers[0])
            else:
                is_right = int(np.argmax([scores.loglikelihood(number) for number in numbers])) == 0
            rows.append((question.item, question.term, question.control, is_right))
        frame = pd.DataFrame(rows, columns=["item", "term", "control", "is_right"])
        return frame.assign(task=self.task.name, shots=self.shots)


def make_sheet(task: Task, shots: int, encoder: Encoder, context: int) -> Sheet | None:
    """Pack one task, None where its longest prompt does not fit the ``context``; ``encoder`` must cut nothing."""
    pairs, families = [], []
    for number, (prompt, question) in enumerate(zip(task.prompts(shots), task.questions, strict=True)):
        pairs += [(prompt, answer) for answer in question.answers]
        families += [number] * len(question.answers)
    sequences = encode_pairs(encoder, pairs, families)
    if max(len(sequence.tokens) - 1 for sequence in sequences) > context:
        return None
    return Sheet(task, shots, pack(sequences))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    add_checkpoint_arguments(parser)
    parser.add_argument("--terms", required=True, help="name of a file in config/terms, which decides the questions")
    parser.add_argument("--shots", type=int, nargs="+", required=True, help="numbers of examples before a question")
    add_engine_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    options = parser.parse_args(arguments)
    first = options.checkpoint[0]
    encoder, context = Encoder(first / "tokenizer.json", UNLIMITED), read_own_config(first).context
    wanted = [(task, shots) for task in load_tasks(options.terms, options.data_dir) for shots in options.shots]
    made = {(task.name, shots): make_sheet(task, shots, encoder, context) for task, shots in wanted}
    left_out = [f"{name} with {shots} examples" for (name, shots), sheet in made.items() if sheet is None]
    for line in left_out:
        LOG.info("left out: %s do not fit %d tokens", line, context)
    parts = []
    for checkpoint in options.checkpoint:
        engine = open_engine(checkpoint, options)
        step = hub_step_of_revision(checkpoint.name)
        parts += [sheet.answers(engine).assign(step=step) for sheet in made.values() if sheet is not None]
    identities = {checkpoint.name: weights_identity(checkpoint) for checkpoint in options.checkpoint}
    frame = pd.concat(parts, ignore_index=True)
    write_frame(options.output, frame, {}, {"weights": identities, "left_out": left_out, "terms": options.terms})
    LOG.info("%d answers of %d checkpoints", len(frame), len(options.checkpoint))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
