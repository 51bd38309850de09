"""The scan gate: whether a scan is like those that the model learnt from."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.config.base import Section, refuse

LEAST_STEPS = 20
"""Of a schedule that warms up."""


class GateConfig(Section):
    """What is fitted for the gate when training ends; prediction then runs it on every scan."""

    enabled: bool = True
    """Whether a gate is fitted."""
    false_alarm_rate: float = Field(0.02, gt=0, lt=0.5)
    """Share of scans like the training cases, at most, that are nevertheless called foreign; the threshold of
    gate_score follows from it."""
    cases: int = Field(200, ge=8)
    """Training and validation cases that it is fitted to, at most; drawn at random."""
    autoencoder_steps: int = Field(300, ge=0)
    """Training steps of each of the small autoencoders whose reconstruction errors are scores of the gate, 20 or more;
    0 does without them, and without a picture of what is odd."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        few = 0 < self.autoencoder_steps < LEAST_STEPS
        refuse([f"autoencoder_steps is 0, or {LEAST_STEPS} or more, found {self.autoencoder_steps}"] if few else [])
        return self
