"""From what is known about a result to the columns that name it: suite, model, arm, Hub step, tokens."""

from dataclasses import dataclass
from fractions import Fraction

from workflow_scripts.errors import DataError
from workflow_scripts.published.claims import DEFAULT_BATCH, OTHER, Claim
from workflow_scripts.suite.steps import Step

HUB_ROWS, SEQUENCE_LENGTH = 1024, 2048  # one Hub step is 1024 rows of 2048 predicted tokens


@dataclass(frozen=True)
class Identity:
    """The columns of the tidy table that say which model at which point a number belongs to."""

    suite: str
    version: str | None
    model: str
    size: str
    data: str | None
    arm: str
    shots: int | None
    step: int | None
    tokens: int | None


def identify(claim: Claim) -> Identity:
    """Identity of a result; raises DataError that says which part is nowhere stated."""
    if claim.family in ("opt", "bloom", OTHER):
        return identify_other(claim)
    needed = {"model size": claim.size, "version": claim.version, "data set": claim.data, "step": claim.raw_step}
    missing = [name for name, value in needed.items() if value is None]
    if claim.family is None or missing:
        raise DataError(f"cannot tell the {', '.join(missing) or 'model'}: neither the content nor the name states it")
    step = hub_step(claim.raw_step or 0, claim.batch or DEFAULT_BATCH)
    return Identity(
        suite="pythia",
        version=claim.version,
        model=model_name(claim),
        size=claim.size or "",
        data=claim.data,
        arm=claim.arm or "baseline",
        shots=claim.shots,
        step=step,
        tokens=Step(step, HUB_ROWS, SEQUENCE_LENGTH).tokens,
    )


def identify_other(claim: Claim) -> Identity:
    """Identity of a model that is not Pythia: nothing is known of its training, so it has no tokens."""
    name = claim.name if claim.family == OTHER else f"{claim.family}-{claim.size}"
    size, step = claim.size or "", claim.raw_step if claim.family == OTHER else None
    return Identity(claim.family or "", None, name or "", size, None, "baseline", claim.shots, step, None)


def model_name(claim: Claim) -> str:
    """Name as on the Hub today, stated or built from its parts; unpublished variants keep upstream's name.

    >>> model_name(Claim("pythia", "v0", "410m", "deduped", "intervention", "4"))
    'pythia-intervention-410m-deduped-v0'
    >>> model_name(Claim("pythia", "v1", "160m", "standard", "baseline", "0.5"))
    'pythia-160m-0.5MtokBS'
    >>> model_name(Claim("pythia", "v2", "160m", "deduped", "baseline", "2"))
    'pythia-160m-deduped-v2'
    """
    if claim.name is not None:
        return claim.name
    prefix = "" if claim.arm in (None, "baseline") else f"{claim.arm}-"
    suffix = "-deduped" if claim.data == "deduped" else ""
    version = "" if claim.version == "v1" else f"-{claim.version}"
    is_variant = claim.version == "v1" and claim.batch not in (None, DEFAULT_BATCH)
    return f"pythia-{prefix}{claim.size}{suffix}{version}" + (f"-{claim.batch}MtokBS" if is_variant else "")


def hub_step(raw_step: int, batch: str) -> int:
    """Hub step at which as many tokens were seen as after ``raw_step`` steps of ``batch`` million tokens.

    >>> hub_step(71500, "4"), hub_step(572000, "0.5"), hub_step(3000, "2")
    (143000, 143000, 3000)
    """
    exact = raw_step * Fraction(batch) / Fraction(DEFAULT_BATCH)
    if exact.denominator != 1:
        raise DataError(f"step {raw_step} with {batch}M tokens per step lies between two Hub steps")
    return int(exact)
