"""Which rows an iteration, a device and an accumulation step get: arithmetic over row numbers only.

Rows are taken in order. One micro-batch over all W data-parallel ranks is ``micro * W`` rows, rank r takes the r-th run
of ``micro`` of them, and ``accumulation`` micro-batches make an iteration of B rows (GPT-NeoX
``DistributedBatchSampler`` without interleaving). Iteration k as a whole is rows [B k, B (k+1)) whatever W is, and the
checkpoint of step S has consumed exactly rows [0, B S).
"""

from dataclasses import dataclass

from workflow_scripts.errors import ConfigError


@dataclass(frozen=True)
class BatchLayout:
    """How the ``batch_rows`` rows of an iteration are dealt out.

    >>> BatchLayout(64, ranks=4, accumulation=2).rank_rows(iteration=1, accumulation_step=0, rank=3)
    range(88, 96)
    """

    batch_rows: int
    ranks: int = 1
    accumulation: int = 1

    def __post_init__(self) -> None:
        """The rows must divide evenly."""
        if min(self.batch_rows, self.ranks, self.accumulation) < 1:
            raise ConfigError("batch rows, ranks and accumulation steps must all be at least 1")
        if self.batch_rows % (self.ranks * self.accumulation):
            raise ConfigError(
                f"{self.batch_rows} rows cannot be divided among {self.ranks} ranks x {self.accumulation} "
                f"accumulation steps"
            )

    @property
    def micro_rows(self) -> int:
        """Rows of one device in one accumulation step."""
        return self.batch_rows // (self.ranks * self.accumulation)

    def iteration_rows(self, iteration: int) -> range:
        """All rows of ``iteration`` (from 0)."""
        return range(iteration * self.batch_rows, (iteration + 1) * self.batch_rows)

    def rank_rows(self, iteration: int, accumulation_step: int, rank: int) -> range:
        """Rows of one rank in one accumulation step."""
        if not (0 <= rank < self.ranks and 0 <= accumulation_step < self.accumulation):
            raise ConfigError(f"rank {rank} step {accumulation_step} of {self.ranks} ranks, {self.accumulation} steps")
        first = iteration * self.batch_rows + (accumulation_step * self.ranks + rank) * self.micro_rows
        return range(first, first + self.micro_rows)

    def iterations(self, n_rows: int) -> int:
        """Whole iterations that ``n_rows`` rows hold; an incomplete last one is never given out."""
        return n_rows // self.batch_rows
