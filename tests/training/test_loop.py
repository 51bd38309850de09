"""Training on two volumes of 12 x 12 x 12 with a bright ball to find; an epoch takes well under a second."""

import itertools
import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config.augmentation import AugmentationConfig
from pipeline.config.cache import CacheConfig
from pipeline.config.network import NetworkConfig
from pipeline.config.training import TrainingConfig
from pipeline.inference.precision import Compute
from pipeline.losses.segmentation import SegmentationLoss
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.prepare import prepare
from pipeline.samples.cache import CaseCache, PreparedCase
from pipeline.samples.patches import BatchPlan, PatchDataset, batches_per_epoch, make_loader
from pipeline.samples.prepare import foreground
from pipeline.scan import Scan
from pipeline.training.loop import DivergedError, EpochResult, OutOfTimeError, Task, ensure_validated, fit
from pipeline.training.schedule import Clock
from pipeline.training.segmentation import SegmentationObjective
from pipeline.training.state import (
    Counters,
    TrainingState,
    average_weights,
    load_checkpoint,
    new_network,
    new_state,
    save_checkpoint,
)
from pipeline.training.validation import CaseDice, Validation, ValidationCase, mean_by_class, mean_dice, validate

CPU = Compute(torch.device("cpu"), "fp32")
NETWORK = NetworkConfig(features=(4, 8, 8), deep_supervision=1)
FITTED = FittedPreprocessing(
    spacing_mm=(1.0, 1.0, 1.0), crop="none", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
)


def validation(cases: list[ValidationCase], classes: int = 2) -> Validation:
    return Validation(cases, classes, patch_size=(8, 8, 8), overlap=0.5)


def config(**settings: object) -> TrainingConfig:
    defaults = {"patch_size": (8, 8, 8), "max_epochs": 2, "iterations_per_epoch": 3, "validate_every": 1}
    return TrainingConfig.model_validate(defaults | settings)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cases(tmp_path: Path) -> list[ValidationCase]:
    cache = CaseCache(CacheConfig(folder=tmp_path / "cache"))
    made = []
    for number in range(2):
        index = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"))
        truth = (((index - 5 - number) ** 2).sum(0) < 4**2).astype(np.uint8)
        noise = np.random.default_rng(number).normal(0, 0.3, (1, 12, 12, 12))
        scan = Scan((truth + noise).astype(np.float32), np.diag([-1.0, 1.0, 1.0, 1.0]), Path("scan.nii"))
        prepared = prepare(scan, FITTED)
        upright = truth[::-1].copy()
        case = PreparedCase(f"ball {number}", prepared.image, upright, foreground(upright, 1), prepared.trail)
        made.append(ValidationCase(cache.get(str(number), partial(copy, case)), truth))
    return made


@dataclass
class Run:
    """A training that can be watched."""

    state: TrainingState
    results: list[EpochResult[list[CaseDice]]]

    @property
    def weights(self) -> dict[str, Tensor]:
        return average_weights(self.state)


def start(training: TrainingConfig) -> TrainingState:
    network = new_network(NETWORK, channels=1, classes=2, seed=training.seed)
    return new_state(network, training.optimiser, CPU, dimensions=3)


def task(
    cases: list[ValidationCase],
    training: TrainingConfig,
    *,
    validated: list[ValidationCase] | None = None,
    counters: Counters | None = None,
    seconds: float = 0.0,
) -> Task[list[CaseDice]]:
    """What is left of a training that was begun some seconds ago; validated on all cases, unless on others."""
    validated = cases if validated is None else validated
    plan = BatchPlan(len(cases), training, counters.epoch if counters else 0)
    dataset = PatchDataset(
        [case.stored for case in cases], training, AugmentationConfig(), foreground=training.foreground
    )
    return Task(
        batches=iter(make_loader(dataset, plan, 0, pin_memory=False)),
        batches_per_epoch=batches_per_epoch(len(cases), training),
        objective=SegmentationObjective(SegmentationLoss(training.loss), validation(validated), CPU),
        config=training,
        clock=Clock.start(seconds),
    )


def train(cases: list[ValidationCase], training: TrainingConfig) -> Run:
    state = start(training)
    return Run(state, list(fit(state, task(cases, training))))


def assert_identical(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_two_runs_of_one_seed_are_identical_to_the_last_bit(cases: list[ValidationCase]) -> None:
    one, other = train(cases, config()), train(cases, config())
    assert [result.loss for result in one.results] == [result.loss for result in other.results]
    assert [result.found for result in one.results] == [result.found for result in other.results]
    assert_identical(one.weights, other.weights)


def test_another_seed_is_another_run(cases: list[ValidationCase]) -> None:
    one, other = train(cases, config(max_epochs=1)), train(cases, config(max_epochs=1, seed=1))
    assert one.results[0].loss != other.results[0].loss


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_run_resumed_from_its_checkpoint_is_the_run_without_a_break(
    cases: list[ValidationCase], tmp_path: Path, kind: str
) -> None:
    training = config(optimiser={"kind": kind})
    whole = train(cases, training)
    broken = start(training)
    next(fit(broken, task(cases, training)))
    save_checkpoint(tmp_path / "last.ckpt", broken)
    state = start(training.model_copy(update={"seed": 77}))
    load_checkpoint(tmp_path / "last.ckpt", state)
    (result,) = fit(state, task(cases, training, counters=state.counters))
    assert (result.epoch, result.finished) == (2, True)
    assert result.loss == whole.results[1].loss
    assert result.learning_rate == whole.results[1].learning_rate
    assert result.found == whole.results[1].found
    assert_identical(average_weights(state), whole.weights)
    assert_identical(state.network.state_dict(), whole.state.network.state_dict())


def test_the_losses_of_the_first_steps_are_those_of_today() -> None:
    """Golden values: a change that moves them changes every training, and has to say so.

    Two patches with a ball each, no chance but in the weights.
    """
    index = torch.stack(torch.meshgrid(*[torch.arange(8)] * 3, indexing="ij"))
    balls = torch.stack([((index - centre) ** 2).sum(0) < 9 for centre in (3, 4)])[:, None]
    batch = {"image": balls + 0.1 * torch.sin(index.sum(0).float()), "labels": balls.byte()}
    training = config(max_epochs=3, iterations_per_epoch=1, optimiser={"warmup_steps": 0})
    todo = replace(task([], training), batches=itertools.repeat(batch), batches_per_epoch=1)
    losses = [result.loss for result in fit(start(training), todo)]
    assert losses == pytest.approx([1.437997, 1.342268, 1.282311], rel=1e-4)


def test_training_finds_the_ball(cases: list[ValidationCase]) -> None:
    training = config(max_epochs=10, iterations_per_epoch=6, optimiser={"learning_rate": 0.01, "warmup_steps": 5})
    results = train(cases, training).results
    assert results[-1].loss < 0.6 * results[0].loss
    assert results[-1].found is not None
    (dice,) = mean_by_class(results[-1].found)
    assert dice is not None
    assert dice > 0.7


def test_each_epoch_reports_how_far_training_is(cases: list[ValidationCase]) -> None:
    run = train(cases, config(max_epochs=3, validate_every=2))
    assert [result.epoch for result in run.results] == [1, 2, 3]
    assert [result.share for result in run.results] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert [result.finished for result in run.results] == [False, False, True]
    assert [result.found is not None for result in run.results] == [False, True, True]  # the last one always
    counters = run.state.counters
    assert (counters.epoch, counters.validated_epoch, counters.step) == (3, 3, 9)
    assert counters.seconds == run.results[-1].seconds > 0


def test_without_validation_cases_there_is_no_dice(cases: list[ValidationCase]) -> None:
    training = config(max_epochs=1)
    (result,) = fit(start(training), task(cases, training, validated=[]))
    assert (result.found, result.is_best, result.finished) == (None, False, True)


def test_weights_that_were_not_validated_are_validated_before_their_dice_is_told(cases: list[ValidationCase]) -> None:
    training = config(max_epochs=3, validate_every=2)
    state, todo = start(training), task(cases, training)
    epochs = fit(state, todo)
    next(epochs)
    assert (state.counters.validated_epoch, state.counters.last_score) == (0, None)
    ensure_validated(state, todo)
    expected = mean_dice(mean_by_class(validate(state.average, validation(cases), CPU)))
    assert (state.counters.validated_epoch, state.counters.last_score) == (1, expected)
    ensure_validated(state, task(cases, training, validated=cases[:1]))
    assert state.counters.last_score == expected  # nothing is validated twice


def test_a_run_whose_minutes_are_used_up_has_nothing_left_to_do(cases: list[ValidationCase]) -> None:
    training = config(max_minutes=1)
    state = start(training)
    state.counters.epoch, state.counters.step = 1, 3
    assert list(fit(state, task(cases, training, counters=state.counters, seconds=61.0))) == []


def test_training_stops_after_validations_without_a_gain(cases: list[ValidationCase]) -> None:
    training = config(max_epochs=9, iterations_per_epoch=1, early_stopping=2, optimiser={"learning_rate": 1e-12})
    run = train(cases, training)
    # the first validation is the best so far, and with such a rate no later one is better
    assert [result.is_best for result in run.results] == [True, False, False]
    assert run.results[-1].finished
    assert run.state.counters.stale_validations == 2


def test_the_time_bound_ends_an_epoch_which_is_then_validated(
    cases: list[ValidationCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = config(max_minutes=1, max_epochs=50, validate_every=10)
    todo = task(cases, training)
    readings = itertools.chain([0.0] * 3, itertools.repeat(60.0))  # set-up, bound, first batch; then the minute is over
    monkeypatch.setattr(Clock, "seconds", property(lambda _: next(readings)))
    state = start(training)
    (result,) = fit(state, todo)
    assert (result.share, result.finished) == (1.0, True)
    assert result.found is not None
    assert state.counters.step == 1  # of 3: an epoch has a batch at least


def test_the_learning_rate_follows_the_time_bound(cases: list[ValidationCase]) -> None:
    training = config(max_minutes=1, max_epochs=1000, iterations_per_epoch=1, optimiser={"warmup_steps": 0})
    state = start(training)
    state.counters.step, state.counters.setup_seconds = 1, 20.0
    result = next(fit(state, task(cases, training, counters=state.counters, seconds=50.0)))
    assert result.learning_rate == pytest.approx(2e-3 * (1 + math.cos(math.pi * 0.75)) / 2, rel=0.1)


def test_a_run_whose_minutes_are_gone_before_the_first_step_trains_nothing_and_says_so(
    cases: list[ValidationCase],
) -> None:
    training = config(max_minutes=1)
    with pytest.raises(OutOfTimeError, match=r"of training\.max_minutes=1; found none: .* took 1\. Raise"):
        list(fit(start(training), task(cases, training, seconds=61.0)))


def test_a_loss_that_is_no_number_ends_training(cases: list[ValidationCase]) -> None:
    training = config()
    nan = {"image": torch.full((2, 1, 8, 8, 8), torch.nan), "labels": torch.zeros(2, 1, 8, 8, 8, dtype=torch.uint8)}
    batches = task(cases, training).batches
    poisoned = replace(task(cases, training), batches=itertools.chain([next(batches)], [nan]))
    with pytest.raises(
        DivergedError, match=r"finite loss; found nan at step 1\. Lower training\.optimiser\.learning_ra"
    ):
        list(fit(start(training), poisoned))


def test_two_accumulated_batches_make_the_step_of_one_twice_as_large(cases: list[ValidationCase]) -> None:
    sgd = {"kind": "sgd", "learning_rate": 0.1, "warmup_steps": 0}
    large = config(max_epochs=1, iterations_per_epoch=1, batch_size=2, optimiser=sgd)
    small = config(max_epochs=1, iterations_per_epoch=2, batch_size=1, optimiser=sgd | {"accumulate": 2})
    one, other = train(cases, large), train(cases, small)
    assert (one.state.counters.step, other.state.counters.step) == (1, 1)
    assert other.results[0].loss == pytest.approx(one.results[0].loss, rel=1e-5)
    for name, tensor in one.weights.items():
        torch.testing.assert_close(other.weights[name], tensor, rtol=1e-4, atol=1e-5)


def test_batches_that_are_left_over_make_a_step_of_their_own(cases: list[ValidationCase]) -> None:
    run = train(cases, config(optimiser={"accumulate": 2}))
    assert run.state.counters.step == 4  # 3 batches an epoch: a step of 2 and a step of 1, twice
    assert run.results[-1].share == 1.0


def test_the_gradient_is_clipped_to_its_largest_norm(cases: list[ValidationCase]) -> None:
    plain = {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.0, "warmup_steps": 0}
    training = config(max_epochs=1, iterations_per_epoch=1, optimiser=plain | {"gradient_clip": 0.01})
    before = start(training).network.state_dict()
    after = train(cases, training).state.network.state_dict()
    moved = torch.stack([(after[name] - before[name]).square().sum() for name in before]).sum().sqrt()
    assert float(moved) == pytest.approx(0.01, rel=1e-2)


def test_validation_scores_each_case_on_its_own_grid(cases: list[ValidationCase]) -> None:
    class Threshold(torch.nn.Module):
        """Finds the ball by its brightness."""

        def forward(self, x: Tensor) -> list[Tensor]:
            return [torch.cat([torch.zeros_like(x), 10 * (x - 0.7)], 1)]

    rows = validate(Threshold(), validation(cases), CPU)
    assert len(rows) == len(cases)
    for (dice,) in rows:
        assert dice is not None
        assert 0.8 < dice < 1.0


def test_a_class_that_no_case_has_is_left_out_of_the_mean(cases: list[ValidationCase]) -> None:
    class Nothing(torch.nn.Module):
        """Finds nothing."""

        def forward(self, x: Tensor) -> list[Tensor]:
            return [torch.cat([x * 0 + 1, x * 0, x * 0], 1)]

    dice = mean_by_class(validate(Nothing(), validation(cases, classes=3), CPU))
    assert dice == [0.0, None]
    assert mean_by_class([[0.5, 1.0], [None, 0.5]]) == [0.5, 0.75]
    assert mean_dice(dice) == 0.0
    assert mean_dice([0.5, None, 1.0]) == 0.75
    assert mean_dice([None]) is None
