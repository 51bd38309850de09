"""What a run takes from the machine that it begins on: device, threads, and the number format of the convolutions."""

from collections.abc import Callable
from typing import TypeVar

import torch

from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.network import NetworkConfig
from pipeline.config.training import LoopConfig, TrainingConfig
from pipeline.errors import ConfigError
from pipeline.inference.precision import Compute, Step, choose_device, choose_training_precision
from pipeline.losses.segmentation import SegmentationLoss
from pipeline.networks.autoencoder import Autoencoder
from pipeline.training.state import new_network

L = TypeVar("L", bound=LoopConfig)


def settle(training: L, trial: Callable[[], Step]) -> L:
    """Fill in what depends on the machine, so that a resumed run uses the same.

    Args:
        training: as configured.
        trial: makes a training step, where number formats are to be timed.

    Raises:
        ConfigError: a GPU was asked for and there is none, or a number format that the device does not have.
    """
    device = choose_device(training.device)
    threads = training.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    precision = choose_training_precision(training.precision, device, trial)
    return training.model_copy(update={"threads": threads, "precision": precision, "device": device.type})


def check_device(training: LoopConfig) -> None:
    """Make sure that a run which was begun elsewhere can go on here.

    Raises:
        ConfigError: it was begun on a GPU, and there is none.
    """
    if training.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "a CUDA device, as the run was begun on",
            "none on this machine",
            "Resume it where there is one, or set training.device to cpu and training.precision to fp32 in the "
            "config.yaml of its folder; it then goes on slowly, and rounds differently.",
        )


def segmentation_step(training: TrainingConfig, network: NetworkConfig) -> Step:
    """A training step towards masks, on zeros; its network is made here, once."""
    unet = new_network(network, channels=1, classes=2, seed=training.seed)
    patch = torch.zeros(training.batch_size, 1, *training.patch_size)
    loss = SegmentationLoss(training.loss)

    def step(compute: Compute) -> None:
        placed = compute.place_network(unet, network.dimensions)
        with compute.autocast():
            logits = placed(compute.place(patch))
        loss(logits, patch.to(compute.device)).backward()

    return step


def reconstruction_step(training: LoopConfig, network: NetworkConfig, config: AutoencoderConfig) -> Step:
    """A training step of an autoencoder, on zeros; its network is made here, once."""
    autoencoder = Autoencoder(network, config, channels=1, patch_size=training.patch_size)
    patch = torch.zeros(training.batch_size, 1, *training.patch_size)

    def step(compute: Compute) -> None:
        placed = compute.place_network(autoencoder, network.dimensions)
        with compute.autocast():
            found = placed(compute.place(patch))
        found.output.float().square().mean().backward()

    return step
