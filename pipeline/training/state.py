"""Everything that training changes, and its checkpoint: one file, written whole or not at all."""

import copy
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from pipeline.config.network import NetworkConfig
from pipeline.config.training import OptimiserConfig, TrainingConfig
from pipeline.errors import ModelError
from pipeline.files import atomic_path
from pipeline.inference.precision import Compute
from pipeline.networks.unet import UNet

LAST, BEST = "last.ckpt", "best.ckpt"


@dataclass
class TrainingState:
    """What a run is made of while it runs.

    Attributes:
        network: the weights that the optimiser moves.
        average: their exponential moving average, which is validated and exported.
        optimiser: with its moments.
        scaler: loss scaling, in use for fp16 only.
        epoch: epochs done.
        step: optimiser steps done.
        seconds: time trained until the last checkpoint.
        best_dice: best validation Dice so far, None before the first validation.
        last_dice: validation Dice of the newest validation.
        stale_validations: validations since the best.
    """

    network: UNet
    average: UNet
    optimiser: optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_dice: float | None = None
    last_dice: float | None = None
    stale_validations: int = 0
    _counters: tuple[str, ...] = field(
        default=("epoch", "step", "seconds", "best_dice", "last_dice", "stale_validations"), repr=False
    )

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain numbers only, so that loading needs no code."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "counters": {name: getattr(self, name) for name in self._counters},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what `to_dict` gave."""
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        for name in self._counters:
            setattr(self, name, saved["counters"][name])


def new_network(config: NetworkConfig, *, channels: int, classes: int, seed: int) -> UNet:
    """A network whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(config, channels, classes)


def new_state(network: UNet, dimensions: int, config: TrainingConfig, compute: Compute) -> TrainingState:
    """The state before the first step."""
    placed = compute.place_network(network, dimensions)
    assert isinstance(placed, UNet)
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "fp16")
    return TrainingState(placed, copy.deepcopy(placed).eval(), _make_optimiser(placed, config.optimiser), scaler)


def update_average(state: TrainingState, decay: float) -> None:
    """Move the average towards the weights; early on faster, so that it forgets the random start.

    The decay of step t is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage.
    """
    share = 1 - min(decay, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.average.parameters()), list(state.network.parameters()), share)
        for own, new in zip(state.average.buffers(), state.network.buffers(), strict=True):
            own.copy_(new)


def save_checkpoint(path: Path, state: TrainingState) -> None:
    """Write the state, whole or not at all."""
    with atomic_path(path) as partial:
        torch.save(state.to_dict(), partial)


def load_checkpoint(path: Path, state: TrainingState) -> None:
    """Go on from a checkpoint.

    Raises:
        ModelError: the file is damaged, or belongs to another network.
    """
    try:
        state.restore(torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, EOFError) as error:  # their messages are empty, or advise to load it unsafely
        raise _not_loaded(f"{path}: it is damaged, or something else") from error
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise _not_loaded(f"{path}: {str(error).splitlines()[0]}") from error


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
