"""How far training is, and the learning rate that belongs to it."""

import time
from dataclasses import dataclass, replace
from math import cos, pi

from pipeline.config.training import OptimiserConfig

POLY_POWER = 0.9


@dataclass(frozen=True)
class Clock:
    """Seconds spent on training, over all resumes.

    Attributes:
        before: seconds of the runs that this one continues.
        started: reading of the monotonic clock when this run began.
    """

    before: float
    started: float

    @staticmethod
    def start(before: float = 0.0) -> "Clock":
        """A clock that goes on from ``before`` seconds."""
        return Clock(before, time.monotonic())

    def after(self, before: float) -> "Clock":
        """The same clock for a run that turns out to go on from ``before`` seconds."""
        return replace(self, before=before)

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        return self.before + time.monotonic() - self.started


def time_share(*, seconds: float, setup_seconds: float, max_minutes: float) -> float:
    """Share of the time to train in that is used up: what reading and preparing took is no part of it.

    Otherwise a data set that takes half of the minutes to prepare would begin with half of the learning rate.
    """
    left_seconds = 60 * max_minutes - setup_seconds
    return (seconds - setup_seconds) / left_seconds if left_seconds > 0 else 1.0


def learning_rate(step: int, share: float, config: OptimiserConfig) -> float:
    """The learning rate of a step.

    Args:
        step: counted from 0; during the warm-up the rate rises linearly with it.
        share: of the training that is done, see `loop.share_done`. sgd decays as (1 - share)^0.9 (Chen et al. 2017,
            arXiv:1606.00915, section 4.1), adamw along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983,
            equation 5 without restarts).
        config: kind, rate and warm-up.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay = (1 - share) ** POLY_POWER if config.kind == "sgd" else (1 + cos(pi * share)) / 2
    return config.learning_rate * warm * decay
