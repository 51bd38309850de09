"""The training loop.

`fit` yields after every epoch; whoever runs it writes checkpoints, logs and shows progress in between.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.augmentation.volumes import Sample
from pipeline.config.training import TrainingConfig
from pipeline.inference.precision import Compute
from pipeline.losses import SegmentationLoss
from pipeline.training.schedule import Clock, learning_rate, progress
from pipeline.training.state import TrainingState, update_average
from pipeline.training.validation import SlidingWindow, ValidationCase, mean_dice, validate


@dataclass(frozen=True)
class Task:
    """What a run trains on and is validated on; nothing in it changes.

    Attributes:
        batches: the batches of all epochs that are left, in order.
        batches_per_epoch: how many of them make an epoch.
        validation: cases to validate on, possibly none.
        window: how validation slides.
        classes: the background included.
    """

    batches: Iterator[Sample]
    batches_per_epoch: int
    validation: list[ValidationCase]
    window: SlidingWindow
    classes: int


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to.

    Attributes:
        epoch: number of the epoch, from 1.
        loss: mean training loss.
        learning_rate: of the last step.
        dice: validation Dice of each class above 0, or None where this epoch was not validated.
        is_best: whether its mean Dice is the best so far.
        share: share of the training that is done.
        seconds: time trained so far.
        finished: whether this was the last epoch.
    """

    epoch: int
    loss: float
    learning_rate: float
    dice: list[float | None] | None
    is_best: bool
    share: float
    seconds: float
    finished: bool


class DivergedError(Exception):
    """The loss is no longer a number."""


def fit(
    state: TrainingState, task: Task, config: TrainingConfig, compute: Compute, clock: Clock
) -> Iterator[EpochResult]:
    """Train until a bound is reached: epochs, minutes, or validations without a gain.

    An epoch that the time bound cuts short is the last one and is validated like any last one.

    Yields:
        The result of each epoch, with ``state`` standing right after it.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    loss = SegmentationLoss(config.loss)
    over = bound_reached(state, task, config, clock) or is_stale(state, config)
    while not over:
        mean_loss, rate = train_epoch(state, task, loss, config, compute, clock)
        state.epoch += 1
        over = bound_reached(state, task, config, clock)
        due = over or state.epoch % config.validate_every == 0
        dice = validate_average(state, task, compute) if due and task.validation else None
        best = _note_dice(state, dice)
        over = over or is_stale(state, config)
        state.seconds = clock.seconds
        share = progress(state.step, _total_steps(task, config), state.seconds, config)
        yield EpochResult(state.epoch, mean_loss, rate, dice, best, share, state.seconds, over)


def bound_reached(state: TrainingState, task: Task, config: TrainingConfig, clock: Clock) -> bool:
    """Whether the epochs or the minutes are used up; never before the first step, however little time there is."""
    return state.step > 0 and progress(state.step, _total_steps(task, config), clock.seconds, config) >= 1


def is_stale(state: TrainingState, config: TrainingConfig) -> bool:
    """Whether as many validations as early stopping waits for have passed without a gain."""
    return config.early_stopping is not None and state.stale_validations >= config.early_stopping


def train_epoch(
    state: TrainingState, task: Task, loss: nn.Module, config: TrainingConfig, compute: Compute, clock: Clock
) -> tuple[float, float]:
    """One epoch, or what the time bound leaves of it; returns the mean loss and the last learning rate."""
    state.network.train()
    losses: list[float] = []
    rate = 0.0
    accumulate = config.optimiser.accumulate
    for index in range(task.batches_per_epoch):
        share = progress(state.step, _total_steps(task, config), clock.seconds, config)
        if share >= 1 and losses and index % accumulate == 0:  # a group of batches that was begun ends in a step
            break
        rate = learning_rate(state.step, share, config.optimiser)
        group = min(accumulate, task.batches_per_epoch - index + index % accumulate)
        losses.append(backward(state, next(task.batches), loss, group, compute))
        if (index + 1) % accumulate == 0 or index + 1 == task.batches_per_epoch:
            step(state, rate, config)
    return sum(losses) / len(losses), rate


def backward(state: TrainingState, batch: Sample, loss: nn.Module, accumulate: int, compute: Compute) -> float:
    """Add a batch's gradients, divided by the number of batches that share a step; returns the batch's loss."""
    with compute.autocast():
        logits = state.network(compute.place(batch["image"]))
    value: Tensor = loss(logits, batch["labels"].to(compute.device))
    number = float(value.detach())
    if not torch.isfinite(value.detach()):
        raise DivergedError(f"the loss is {number} at step {state.step}; lower the learning rate")
    state.scaler.scale(value / accumulate).backward()
    return number


def step(state: TrainingState, rate: float, config: TrainingConfig) -> None:
    """Clip the gradients, move the weights, and let the average follow."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    if config.optimiser.gradient_clip is not None:
        state.scaler.unscale_(state.optimiser)
        nn.utils.clip_grad_norm_(state.network.parameters(), config.optimiser.gradient_clip)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.optimiser.zero_grad(set_to_none=True)
    state.step += 1
    update_average(state, config.ema_decay)


def validate_average(state: TrainingState, task: Task, compute: Compute) -> list[float | None]:
    """Dice of the averaged weights on the validation cases."""
    return validate(state.average.eval(), task.validation, task.window, task.classes, compute)


def _total_steps(task: Task, config: TrainingConfig) -> int:
    return config.max_epochs * -(-task.batches_per_epoch // config.optimiser.accumulate)


def _note_dice(state: TrainingState, dice: list[float | None] | None) -> bool:
    """Keep the newest and the best Dice; returns whether the newest is the best."""
    mean = mean_dice(dice) if dice is not None else None
    if mean is None:
        return False
    state.last_dice = mean
    best = state.best_dice is None or mean > state.best_dice
    state.best_dice = mean if best else state.best_dice
    state.stale_validations = 0 if best else state.stale_validations + 1
    return best
