"""The training loop.

`fit` yields after every epoch; whoever runs it writes checkpoints, logs and shows progress in between.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor, nn

from pipeline.augmentation.sample import Sample
from pipeline.config.training import LoopConfig
from pipeline.errors import ConfigError
from pipeline.training.schedule import Clock, learning_rate, time_share
from pipeline.training.state import Counters, TrainingState, update_average

F = TypeVar("F")


class Objective(Protocol[F]):
    """What a network is trained towards; F is what a validation finds."""

    def loss(self, network: nn.Module, batch: Sample, step: int) -> Tensor:
        """What is minimised, of a batch; ``step`` counts the optimiser's from 0."""
        ...

    def validate(self, network: nn.Module) -> F | None:
        """What the network is worth on the validation cases; None where there are none."""
        ...

    def score(self, found: F) -> float | None:
        """The one number of a validation that is the better the higher it is; None where it has none."""
        ...


@dataclass(frozen=True)
class Task(Generic[F]):
    """What a run trains on, how, and what for; nothing in it changes.

    Attributes:
        batches: the batches of all epochs that are left, in order.
        batches_per_epoch: how many of them make an epoch.
        objective: loss and validation.
        config: optimiser, bounds.
        clock: the seconds that the minutes' bound counts.
    """

    batches: Iterator[Sample]
    batches_per_epoch: int
    objective: Objective[F]
    config: LoopConfig
    clock: Clock

    @property
    def total_steps(self) -> int:
        """Optimiser steps until the bound in epochs."""
        return self.config.max_epochs * -(-self.batches_per_epoch // self.config.optimiser.accumulate)


@dataclass(frozen=True)
class EpochResult(Generic[F]):
    """What an epoch came to.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean training loss.
        learning_rate: of the last step.
        found: of the validation, or None where this epoch was not validated.
        is_best: whether its score is the best so far.
        share: share of the training that is done.
        seconds: time trained so far.
        finished: whether this was the last epoch.
    """

    epoch: int
    loss: float
    learning_rate: float
    found: F | None
    is_best: bool
    share: float
    seconds: float
    finished: bool


class OutOfTimeError(ConfigError):
    """No time is left to make a step in: what would be exported has learnt nothing."""


class DivergedError(ConfigError):
    """The loss is no longer a number: the learning rate was too high."""


def fit(state: TrainingState, task: Task[F]) -> Iterator[EpochResult[F]]:
    """Train until a bound is reached: epochs, minutes, or validations without a gain.

    An epoch that the time bound cuts short is the last one and is validated like any last one. Where a bound has been
    reached before, as a resumed run may find, there is nothing to yield.

    Yields:
        The result of each epoch, with ``state`` standing right after it.

    Raises:
        DivergedError: the loss became NaN or infinite.
        OutOfTimeError: the minutes are used up before the first step.
    """
    counters = state.counters
    begin(counters, task)
    over = bound_reached(counters, task) or is_stale(counters, task.config)
    while not over:
        mean_loss, rate = train_epoch(state, task)
        counters.epoch += 1
        over = bound_reached(counters, task)
        due = over or counters.epoch % task.config.validate_every == 0
        found = task.objective.validate(state.average) if due else None
        best = found is not None and counters.note_validation(task.objective.score(found))
        over = over or is_stale(counters, task.config)
        counters.seconds = task.clock.seconds
        share = share_done(counters, task)
        yield EpochResult(counters.epoch, mean_loss, rate, found, best, share, counters.seconds, over)


def ensure_validated(state: TrainingState, task: Task[F]) -> None:
    """Validate the averaged weights where the last epoch was not, so that ``last_score`` is theirs.

    `fit` validates the last epoch that it trains; but a run that is resumed with its minutes used up trains none.
    """
    counters = state.counters
    if counters.validated_epoch != counters.epoch:
        found = task.objective.validate(state.average)
        if found is not None:
            counters.note_validation(task.objective.score(found))


def begin(counters: Counters, task: Task[F]) -> None:
    """Note how long the set-up took, where no step has been made yet.

    Raises:
        OutOfTimeError: that was as long as the whole run may take.
    """
    if counters.step > 0:
        return
    counters.setup_seconds, minutes = task.clock.seconds, task.config.max_minutes
    if minutes is not None and counters.setup_seconds >= 60 * minutes:
        raise OutOfTimeError(
            f"minutes left to train in, of training.max_minutes={minutes:g}",
            f"none: reading and preparing the data took {counters.setup_seconds / 60:.2g}",
            "Raise training.max_minutes; prepared cases are kept, so that the next start is quicker.",
        )


def share_done(counters: Counters, task: Task[F]) -> float:
    """Share of the training that is done by now, from 0 to 1: of the steps or of the time, whichever is further."""
    of_steps = counters.step / task.total_steps
    if task.config.max_minutes is None:
        return min(1.0, of_steps)
    of_time = time_share(
        seconds=task.clock.seconds, setup_seconds=counters.setup_seconds, max_minutes=task.config.max_minutes
    )
    return min(1.0, max(of_steps, of_time))


def bound_reached(counters: Counters, task: Task[F]) -> bool:
    """Whether the epochs or the minutes are used up."""
    return share_done(counters, task) >= 1


def is_stale(counters: Counters, config: LoopConfig) -> bool:
    """Whether as many validations as early stopping waits for have passed without a gain."""
    return config.early_stopping is not None and counters.stale_validations >= config.early_stopping


def train_epoch(state: TrainingState, task: Task[F]) -> tuple[float, float]:
    """One epoch, or what the time bound leaves of it; returns the mean loss and the last learning rate.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    state.network.train()
    losses: list[float] = []
    rate = 0.0
    accumulate = task.config.optimiser.accumulate
    for index in range(task.batches_per_epoch):
        share = share_done(state.counters, task)
        if share >= 1 and losses and index % accumulate == 0:  # a group of batches that was begun ends in a step
            break
        rate = learning_rate(state.counters.step, share, task.config.optimiser)
        group = min(accumulate, task.batches_per_epoch - index + index % accumulate)
        value = batch_loss(state, next(task.batches), task.objective)
        state.scaler.scale(value / group).backward()
        losses.append(float(value.detach()))
        if (index + 1) % accumulate == 0 or index + 1 == task.batches_per_epoch:
            step(state, rate, task.config)
    return sum(losses) / len(losses), rate


def batch_loss(state: TrainingState, batch: Sample, objective: Objective[F]) -> Tensor:
    """The loss of a batch.

    Raises:
        DivergedError: it is NaN or infinite.
    """
    value = objective.loss(state.network, batch, state.counters.step)
    if not math.isfinite(float(value.detach())):
        found = f"{float(value.detach())} at step {state.counters.step}"
        raise DivergedError("a finite loss", found, "Lower training.optimiser.learning_rate.")
    return value


def step(state: TrainingState, rate: float, config: LoopConfig) -> None:
    """Clip the gradients, move the weights, and let the average follow."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    if config.optimiser.gradient_clip is not None:
        state.scaler.unscale_(state.optimiser)
        nn.utils.clip_grad_norm_(state.network.parameters(), config.optimiser.gradient_clip)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.optimiser.zero_grad(set_to_none=True)
    state.counters.step += 1
    update_average(state, config.ema_decay)
