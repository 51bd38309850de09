"""How masks are scored."""

from pydantic import Field

from pipeline.config.base import Positive, Section


class EvaluationConfig(Section):
    """Settings of the metrics and their intervals."""

    nsd_tolerance_mm: Positive = 1.0
    """Surface points closer than this to the other surface count as agreeing (normalised surface Dice)."""
    bootstrap_samples: int = Field(2000, ge=100)
    """Resamplings of the cases behind each 95 % interval."""
    seed: int = 0
    """Seed of the resampling."""
