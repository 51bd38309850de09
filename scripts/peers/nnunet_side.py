"""What is done in nnU-Net's own environment, which has nothing of ours.

    python nnunet_side.py model WEIGHTS FOLDER

makes FOLDER, which has plans.json and dataset.json, a trained model of nnU-Net: with the weights of a file of arrays by
name, and zeros for the biases that the other network does without, because a normalisation takes them off again.

    python nnunet_side.py train PREPROCESSED STEPS FOUND

times so many steps of its trainer, on the data set that it has planned and preprocessed in a folder, and writes what it
found to FOUND.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

PLANS, CONFIGURATION, TRAINER = "nnUNetPlans", "3d_fullres", "nnUNetTrainer"
FOLD, CHECKPOINT = "fold_all", "checkpoint_final.pth"
WARM_UP_STEPS = 5


class Timed(nnUNetTrainer):
    """Its trainer under another name, after which its folder is called."""


def make_model(weights: str, folder: str) -> None:
    """Write the checkpoint that nnU-Net reads."""
    arrays, place = np.load(weights), Path(folder)
    network = new_network(place)
    own = dict(network.named_parameters())  # each once, by the first of its names
    given = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    assert given.keys() <= own.keys(), given.keys() - own.keys()
    for name, parameter in own.items():
        is_bias_of_normalised = ".convs." in name and name.endswith("conv.bias")
        if name in given:
            assert given[name].shape == parameter.shape, (name, given[name].shape, parameter.shape)
        else:
            assert is_bias_of_normalised or ".seg_layers." in name, name  # of deep supervision, for training alone
        with torch.no_grad():
            parameter.copy_(given.get(name, torch.zeros_like(parameter)))
    content = {
        "network_weights": network.state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    (place / FOLD).mkdir(exist_ok=True)
    torch.save(content, place / FOLD / CHECKPOINT)


def new_network(folder: Path) -> torch.nn.Module:
    """The network of a folder's plans, untrained."""
    plans, dataset = (json.loads((folder / name).read_text()) for name in ("plans.json", "dataset.json"))
    manager: Any = PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    labels = manager.get_label_manager(dataset)
    network: torch.nn.Module = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        len(dataset["channel_names"]),
        labels.num_segmentation_heads,
        deep_supervision=True,
    )
    return network


def time_training(preprocessed: str, steps: str, found: str) -> None:
    """Run its trainer's own steps on its own batches, made by its own workers."""
    folder = Path(preprocessed)
    plans, dataset = (json.loads((folder / name).read_text()) for name in (f"{PLANS}.json", "dataset.json"))
    trainer: Any = Timed(plans, CONFIGURATION, "all", dataset, device=torch.device("cpu"))
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    waited = seconds = 0.0
    for step in range(WARM_UP_STEPS + int(steps)):
        started = time.perf_counter()
        batch = next(trainer.dataloader_train)
        ready = time.perf_counter()
        trainer.train_step(batch)
        if step >= WARM_UP_STEPS:
            waited, seconds = waited + ready - started, seconds + time.perf_counter() - started
    record = {"patches": int(steps) * trainer.batch_size, "seconds": seconds, "waited": waited}
    Path(found).write_text(json.dumps(record), encoding="utf-8")


WORK: dict[str, Callable[..., None]] = {"model": make_model, "train": time_training}


if __name__ == "__main__":
    WORK[sys.argv[1]](*sys.argv[2:])
