"""What a run takes from the machine that it begins on: device, threads, and the number format of the convolutions."""

import torch

from pipeline.config.network import NetworkConfig
from pipeline.config.training import TrainingConfig
from pipeline.errors import ConfigError
from pipeline.inference.precision import Compute, Step, choose_device, choose_training_precision
from pipeline.losses import SegmentationLoss, check_names
from pipeline.training.state import new_network


def settle(training: TrainingConfig, network: NetworkConfig) -> TrainingConfig:
    """Fill in what depends on the machine, so that a resumed run uses the same.

    Raises:
        ConfigError: a GPU was asked for and there is none, or a number format that the device does not have, or a loss
            that there is not.
    """
    check_names(training.loss)
    device = choose_device(training.device)
    threads = training.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    precision = choose_training_precision(training.precision, device, lambda: _trial_step(training, network))
    return training.model_copy(update={"threads": threads, "precision": precision, "device": device.type})


def check_device(training: TrainingConfig) -> None:
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


def _trial_step(training: TrainingConfig, network: NetworkConfig) -> Step:
    """A training step on zeros, to be timed; its network is made here, once."""
    unet = new_network(network, channels=1, classes=2, seed=training.seed)
    patch = torch.zeros(training.batch_size, 1, *training.patch_size)
    loss = SegmentationLoss(training.loss)

    def step(compute: Compute) -> None:
        placed = compute.place_network(unet, network.dimensions)
        with compute.autocast():
            logits = placed(compute.place(patch))
        loss(logits, patch.to(compute.device)).backward()

    return step
