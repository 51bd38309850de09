"""nnU-Net from PyPI, in an environment of its own, with the network and the weights of one of our models."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config.network import NetworkConfig
from pipeline.model import Model

VERSION = "2.8.1"
NUMBER, DATASET = "4", "Dataset004_Hippocampus"
PLANS, CONFIGURATION, TRAINER = "nnUNetPlans", "3d_fullres", "nnUNetTrainer"
SIDE = Path(__file__).with_name("nnunet_side.py")


@dataclass(frozen=True)
class NnUnet:
    """Where it is installed, and where its data sets and models lie.

    Attributes:
        environment: folder of a virtual environment.
        work: folder of its three folders.
    """

    environment: Path
    work: Path

    @classmethod
    def installed(cls, environment: Path, work: Path) -> "NnUnet":
        """It, installed where it is not yet, with our version of PyTorch.

        A torchvision that was built for another PyTorch cannot be imported; nnU-Net does without one.
        """
        python, pip = str(environment / "bin" / "python"), ["-m", "pip"]
        if not (environment / "bin" / "nnUNetv2_predict").exists():
            subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
            wanted = [f"torch=={torch.__version__.partition('+')[0]}", f"nnunetv2=={VERSION}"]
            subprocess.run([python, *pip, "install", "--quiet", *wanted], check=True)
        if subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode:
            subprocess.run([python, *pip, "uninstall", "--quiet", "--yes", "torchvision"], check=True)
        return cls(environment, work)

    def run(self, program: str, *arguments: str) -> None:
        """One of its commands, or its Python; what it says is kept beside its folders."""
        places = {f"nnUNet_{name}": str(self.folder(name)) for name in ("raw", "preprocessed", "results")}
        here = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        settings = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "2"}
        with (self.work / "log.txt").open("a") as log:
            subprocess.run(
                [str(self.environment / "bin" / program), *arguments],
                env=here | places | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )

    def folder(self, name: str) -> Path:
        """One of its three folders."""
        found = self.work / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    def plan(self, data: Path) -> dict[str, Any]:
        """What it plans for the hippocampus set, which it then has preprocessed as well."""
        raw = self.folder("raw") / DATASET
        if not raw.exists():
            _link(data, raw)
        plans = self.folder("preprocessed") / DATASET / f"{PLANS}.json"
        if not (plans.parent / f"{PLANS}_{CONFIGURATION}").exists():
            self.run("nnUNetv2_plan_and_preprocess", "-d", NUMBER, "-c", CONFIGURATION, "-np", "2")
        found: dict[str, Any] = json.loads(plans.read_text(encoding="utf-8"))
        return found

    def take(self, model: Model, plans: dict[str, Any]) -> Path:
        """Give it one of our models, in place of a trained one of its own."""
        folder = self.folder("results") / DATASET / f"{TRAINER}__{PLANS}__{CONFIGURATION}"
        folder.mkdir(parents=True, exist_ok=True)
        dataset = self.folder("raw") / DATASET / "dataset.json"
        (folder / "dataset.json").write_text(dataset.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "plans.json").write_text(json.dumps(_as_plans(model, plans)), encoding="utf-8")
        np.savez(self.work / "weights.npz", allow_pickle=False, **nnunet_weights(model))
        self.run("python", str(SIDE), "model", str(self.work / "weights.npz"), str(folder))
        return folder

    def time_training(self, steps: int) -> dict[str, float]:
        """Its own steps at its own plan: patches, seconds, and how many of these it waited for a batch."""
        found = self.work / "training.json"
        found.unlink(missing_ok=True)
        self.run("python", str(SIDE), "train", str(self.folder("preprocessed") / DATASET), str(steps), str(found))
        record: dict[str, float] = json.loads(found.read_text(encoding="utf-8"))
        return record

    def predict(self, scans: Path, output: Path, *, options: Sequence[str] = ()) -> None:
        """Its command, which a user would start."""
        which = ["-d", NUMBER, "-c", CONFIGURATION, "-p", PLANS, "-tr", TRAINER, "-f", "all", "-device", "cpu"]
        self.run("nnUNetv2_predict", "-i", str(scans), "-o", str(output), *which, *options)


def _link(data: Path, raw: Path) -> None:
    """Our copy of the set, under the names that it wants."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    labels = sorted((data / "labelsTr").glob("[!.]*.nii.gz"))
    for label in labels:
        case = label.name.removesuffix(".nii.gz")
        (raw / "labelsTr" / label.name).symlink_to(label.resolve())
        (raw / "imagesTr" / f"{case}_0000.nii.gz").symlink_to((data / "imagesTr" / label.name).resolve())
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": len(labels),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def _as_plans(model: Model, plans: dict[str, Any]) -> dict[str, Any]:
    """Its plans with our network, patch and order of axes: it reads scans with the last axis first."""
    found: dict[str, Any] = json.loads(json.dumps(plans))
    found["transpose_forward"] = found["transpose_backward"] = [2, 1, 0]
    own = found["configurations"][CONFIGURATION]
    own["patch_size"] = list(model.manifest.patch_size)
    own["architecture"]["arch_kwargs"] |= architecture(model.manifest.network)
    return found


def architecture(network: NetworkConfig) -> dict[str, Any]:
    """Its `PlainConvUNet` of the same layers."""
    assert (network.block, network.norm, network.activation) == ("plain", "instance", "leaky_relu")
    assert network.upsampling == "transposed"
    return {
        "n_stages": len(network.features),
        "features_per_stage": list(network.features),
        "kernel_sizes": [list(kernel) for kernel in network.stage_kernels()],
        "strides": [list(stride) for stride in network.stage_strides()],
        "n_conv_per_stage": list(network.stage_encoder_convolutions()),
        "n_conv_per_stage_decoder": list(network.stage_decoder_convolutions()),
    }


def nnunet_weights(model: Model) -> dict[str, NDArray]:
    """Our weights by the names that they have there; it counts the stages of its decoder from the coarsest."""
    last = len(model.manifest.network.features) - 2
    return {_named(name, last): tensor.numpy() for name, tensor in model.network.state_dict().items()}


def _named(name: str, last: int) -> str:
    """A weight's name there.

    Example:
        >>> _named("encoder.0.blocks.1.0.weight", last=2), _named("decoder.0.up.conv.bias", last=2)
        ('encoder.stages.0.0.convs.1.conv.weight', 'decoder.transpconvs.2.bias')
    """
    part, stage, *rest = name.split(".")
    kind = rest[-1]
    if part == "heads":
        return f"decoder.seg_layers.{last - int(stage)}.{kind}"
    if rest[0] == "up":
        return f"decoder.transpconvs.{last - int(stage)}.{kind}"
    own = f"encoder.stages.{stage}.0" if part == "encoder" else f"decoder.stages.{last - int(stage)}"
    return f"{own}.convs.{rest[1]}.{'conv' if rest[2] == '0' else 'norm'}.{kind}"
