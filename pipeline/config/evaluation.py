"""How masks are scored."""

from pydantic import Field

from pipeline.config.base import Positive, Section, Seed


class EvaluationConfig(Section):
    """Settings of the metrics and their intervals."""

    nsd_tolerance_mm: Positive = 1.0
    """Surface points closer than this to the other surface count as agreeing (normalised surface Dice)."""
    bootstrap_samples: int = Field(2000, ge=100)
    """Resamplings of the cases behind each 95 % interval."""
    seed: Seed = 0
    """Seed of the resampling."""
