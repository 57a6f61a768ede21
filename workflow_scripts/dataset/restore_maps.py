r"""Make doc_idx and shuffle_idx of a training set from counts alone, without the data set.

    python -m workflow_scripts.dataset.restore_maps --name pile_20B_tokenizer_text_document --documents 210604984 \
        --tokens 332115325534 --seed 2 --output-dir index_maps

The two shuffles depend on the number of documents, the number of tokens and the seed, not on any length or token. So
the maps of the released standard runs can be made, or a damaged download of them replaced, in seconds. sample_idx needs
the lengths: dataset.build_index_maps makes all three.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.files.npy_stream import in_blocks, write_npy
from workflow_scripts.dataset.order.batch_options import add_number_options, numbers_of
from workflow_scripts.dataset.order.index_maps import map_paths, shuffled_documents, shuffled_samples
from workflow_scripts.dataset.order.mersenne import LegacyShuffle
from workflow_scripts.dataset.order.set_plan import Schedule, SetPlan, plan_set, requested_in_paths_mode
from workflow_scripts.storage.records import write_record

log = logging.getLogger(__name__)


def restore(plan: SetPlan, stem: str, seed: int, folder: Path) -> list[Path]:
    """Write doc_idx and shuffle_idx of ``plan`` with their records; returns their paths."""
    shuffle = LegacyShuffle(seed)
    documents_path, _, samples_path = map_paths(folder, stem)
    parameters = {"documents": plan.stop, "tokens": plan.tokens, "epochs": plan.epochs, "seed": seed}
    # In this order: the second shuffle goes on where the first one left the random generator.
    for path, make in ((documents_path, shuffled_documents), (samples_path, shuffled_samples)):
        values = make(plan, shuffle)
        sha256 = write_npy(path, values.dtype, values.shape, in_blocks(values))
        write_record(path, {}, parameters)
        log.info("%s  %s", sha256, path)
    return [documents_path, samples_path]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--name", required=True, help="base name of the data set")
    parser.add_argument("--documents", type=int, required=True, help="sequences in the .idx")
    parser.add_argument("--tokens", type=int, required=True, help="tokens of one epoch")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the maps")
    add_number_options(parser)
    options = parser.parse_args(arguments)
    numbers = numbers_of(options)
    wanted = Schedule(numbers.train_iterations, numbers.batch_rows).wanted()[0]
    plan = plan_set(
        "train_0",
        0,
        options.documents,
        tokens=options.tokens,
        requested=requested_in_paths_mode(wanted),
        seq_length=numbers.seq_length,
    )
    restore(plan, plan.stem(options.name, numbers.seq_length, numbers.seed), numbers.seed, options.output_dir)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
