"""The scan gate: whether a scan is like those that the model learnt from."""

from pydantic import Field

from pipeline.config.base import Section


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
    """Training steps of each of the small autoencoders whose reconstruction errors are scores of the gate; 0 does
    without them, and without a picture of what is odd."""
