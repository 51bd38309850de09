"""Predicted Dice: how good a mask is likely to be, told without a reference."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.config.base import Section, refuse
from pipeline.config.gate import LEAST_STEPS


class EstimateConfig(Section):
    """What is fitted to masks of the validation cases, and of damaged versions of them, when training ends.

    Prediction then gives each mask a predicted Dice, with an interval.
    """

    enabled: bool = True
    """Whether it is fitted."""
    coverage: float = Field(0.9, gt=0.5, lt=1)
    """Share of masks whose Dice lies within the interval around the predicted one, where half of the scans are like
    those of validation, and half like damaged versions of them."""
    cases: int = Field(60, ge=5)
    """Validation cases that it is fitted to, at most; drawn at random."""
    damaged: int = Field(6, ge=0)
    """Damaged versions of each of these cases."""
    max_minutes: float = Field(10, gt=0)
    """Minutes of segmenting them after which no further mask is made, once there are masks of five patients."""
    shape_steps: int = Field(300, ge=0)
    """Training steps of the small autoencoder that knows the shapes of the training masks, 20 or more; 0 does without
    it."""
    false_alarm_rate: float = Field(0.02, gt=0, lt=0.5)
    """Share of masks of scans like the validation cases, at most, that are to be reviewed for a low predicted Dice of
    any label; with too few cases to vouch for it, it is higher, and training says how high."""
    review_below: float | None = Field(None, ge=0, le=1)
    """Predicted Dice below which a mask is to be reviewed in any case."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        few = 0 < self.shape_steps < LEAST_STEPS
        refuse([f"shape_steps is 0, or {LEAST_STEPS} or more, found {self.shape_steps}"] if few else [])
        return self
