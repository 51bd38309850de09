"""Everything that training changes, and its checkpoint: one file, written whole or not at all."""

import copy
import logging
import pickle
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from pipeline.config.network import NetworkConfig
from pipeline.config.training import OptimiserConfig
from pipeline.errors import ModelError
from pipeline.files import atomic_path, fsync
from pipeline.inference.precision import Compute
from pipeline.networks.unet import UNet

log = logging.getLogger(__name__)
FORMAT = 5
"""Of checkpoints: counted up whenever an older one could not be gone on from."""


@dataclass
class Counters:
    """How far a run is, in plain numbers.

    Attributes:
        epoch: epochs done.
        step: optimiser steps done.
        seconds: time spent until the last checkpoint.
        setup_seconds: the part of it before the first step, in which data was read and prepared.
        validations: how many have been made.
        validated_epoch: the epoch after which the newest validation was made; 0 before the first.
        last_score: of that validation, for masks their mean Dice; None where it had none.
        best_score: the best so far.
        stale_validations: validations since the best.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    setup_seconds: float = 0.0
    validations: int = 0
    validated_epoch: int = 0
    last_score: float | None = None
    best_score: float | None = None
    stale_validations: int = 0

    def note_validation(self, score: float | None) -> bool:
        """Take down the score of the weights as they are; returns whether it is the best so far."""
        self.validations += 1
        self.validated_epoch, self.last_score = self.epoch, score
        if score is None:
            return False
        best = self.best_score is None or score > self.best_score
        self.best_score = score if best else self.best_score
        self.stale_validations = 0 if best else self.stale_validations + 1
        return best


@dataclass
class TrainingState:
    """What a run is made of while it runs.

    Attributes:
        network: the weights that the optimiser moves.
        average: their exponential moving average, which is validated and exported.
        optimiser: with its moments.
        scaler: loss scaling, in use for fp16 only.
        counters: how far it is.
        record: what the newest epoch came to, in plain values; whoever resumes can write it down again.
    """

    network: nn.Module
    average: nn.Module
    optimiser: optim.Optimizer
    scaler: torch.amp.GradScaler
    counters: Counters
    record: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers only, so that loading needs no code."""
        return {
            "format": FORMAT,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "counters": asdict(self.counters),
            "record": self.record,
            "random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what `to_dict` gave."""
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        self.counters, self.record = Counters(**saved["counters"]), saved["record"]
        torch.set_rng_state(saved["random"]["cpu"])
        if len(saved["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["random"]["cuda"])


def new_network(config: NetworkConfig, *, channels: int, classes: int, seed: int) -> UNet:
    """A network whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(config, channels, classes)


def new_state(network: nn.Module, config: OptimiserConfig, compute: Compute, *, dimensions: int) -> TrainingState:
    """The state before the first step."""
    placed = compute.place_network(network, dimensions)
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "fp16")
    return TrainingState(placed, copy.deepcopy(placed).eval(), _make_optimiser(placed, config), scaler, Counters())


def update_average(state: TrainingState, decay: float) -> None:
    """Move the average towards the weights; early on faster, so that it forgets the random start.

    The decay of step t is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage.
    """
    step = state.counters.step
    share = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.average.parameters()), list(state.network.parameters()), share)
        for own, new in zip(state.average.buffers(), state.network.buffers(), strict=True):
            own.copy_(new)


def save_checkpoint(path: Path, state: TrainingState) -> None:
    """Write the state, whole or not at all; the file that was there before is kept as `previous`.

    Raises:
        OSError: it cannot be written; the file that was there is still there, or is `previous`.
    """
    with atomic_path(path) as partial:
        torch.save(state.to_dict(), partial)
        fsync(partial)  # before the older one goes out of its way
        if path.exists():
            path.replace(previous(path))


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at ``path`` is."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def has_checkpoint(path: Path) -> bool:
    """Whether there is one at ``path``, or the one before it."""
    return path.exists() or previous(path).exists()


def load_checkpoint(path: Path, state: TrainingState) -> None:
    """Go on from a checkpoint, or from the one before it where it is damaged or was never finished.

    Raises:
        ModelError: both are damaged, or belong to another network or another version.
    """
    try:
        _load(path, state)
    except ModelError as error:
        if not previous(path).exists():
            raise
        log.warning("%s cannot be read (%s); the run goes on from the one before it", path.name, error.found)
        _load(previous(path), state)
        path.unlink(missing_ok=True)  # or the next checkpoint would put it in the place of the one that can be read


def _load(path: Path, state: TrainingState) -> None:
    try:
        saved = torch.load(_intact(path), map_location="cpu", weights_only=True)
        if not isinstance(saved, dict) or saved.get("format") != FORMAT:
            raise _not_loaded(f"{path}: another version of medseg wrote it")
        state.restore(saved)
    except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:  # their messages are no help
        raise _not_loaded(f"{path}: it is damaged, or something else") from error
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise _not_loaded(f"{path}: {str(error).splitlines()[0]}") from error


def _intact(path: Path) -> Path:
    """The path, once every byte of the archive has been compared with its checksum, which torch does not do.

    Raises:
        BadZipFile: one differs.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)
    return path


def _not_loaded(found: str) -> ModelError:
    return ModelError("a checkpoint of this run's network", found, "Start the run afresh.")


def average_weights(state: TrainingState) -> dict[str, Tensor]:
    """A copy of the averaged weights, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in state.average.state_dict().items()}


def _make_optimiser(network: nn.Module, config: OptimiserConfig) -> optim.Optimizer:
    if config.kind == "sgd":
        return optim.SGD(
            network.parameters(),
            config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )
    return optim.AdamW(network.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay)
