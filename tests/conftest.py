"""What several tests need: volumes on disk, a model whose masks can be foretold, real data where there is some."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.manifest import Manifest, Part, Provenance
from pipeline.model import save_model
from pipeline.preprocessing.fitted import ClipNormalisation, FittedPreprocessing
from pipeline.scan import Unit

RealData = Callable[[str], Path]
WriteVolume = Callable[..., Path]
WriteModel = Callable[..., Path]
ORGAN, LESION = 0.5, 100.5
"""Intensities above which a voxel is organ and lesion."""


def pytest_configure() -> None:
    """Let SIGINT reach the commands that tests start, also where a shell started the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def real_data() -> RealData:
    """The path of a real data set by its name; a test whose data is missing is skipped, and says so."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("MEDSEG_TEST_DATA", default))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"no real data at {root / name}; MEDSEG_TEST_DATA names the folder")
        return root / name

    return find


@dataclass(frozen=True)
class Planted:
    """A small data set with planted faults.

    Attributes:
        root: the data set.
        faults: the case and the expectation of each finding.
    """

    root: Path
    faults: set[tuple[str, str]]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory of the test's own, and a cache of the tests': what commands leave there is not a user's."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def blank_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn empty: what they show is tested where they are made (tests/report), and takes seconds.

    Not so in tests with the mark ``drawn``.
    """
    if request.node.get_closest_marker("drawn"):
        return
    draw = Figure.savefig

    def draw_nothing(_figure: Figure, target: Any, **options: Any) -> None:
        draw(Figure(figsize=(1, 1)), target, **options)

    monkeypatch.setattr(Figure, "savefig", draw_nothing)


@pytest.fixture
def planted(real_data: RealData, tmp_path: Path) -> Planted:
    """Two cases of the hippocampus; a foreign mask, an image without a mask and a mask without an image among them."""
    faults, source, root = real_data("hostile/hippocampus_planted"), real_data("hippocampus"), tmp_path / "planted"
    content = json.loads((source / "dataset.json").read_text())
    content |= {"training": content["training"][:2], "test": []}
    files = {root / path: source / path for item in content["training"] for path in item.values()}
    first = content["training"][0]
    files[root / first["label"]] = faults / "foreign_label.nii.gz"
    files[root / "imagesTr" / "lonely_image.nii.gz"] = faults / "image_without_label.nii.gz"
    files[root / "labelsTr" / "lonely_label.nii.gz"] = faults / "label_without_image.nii.gz"
    for path, target in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    (root / "dataset.json").write_text(json.dumps(content))
    return Planted(
        root,
        {
            (Path(first["image"]).name.removesuffix(".nii.gz"), "a mask on its image's grid"),
            ("lonely_image", "a mask for every image"),
            ("lonely_label", "an image for every mask"),
        },
    )


@pytest.fixture
def write_volume() -> WriteVolume:
    """Writes a NIfTI file of an array (I, J, K) or (I, J, K, C) with square voxels, and returns its path."""

    def write(path: Path, array: ArrayLike, spacing_mm: float = 1.0, *, affine: ArrayLike | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        square = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
        image = nibabel.Nifti1Image(np.asarray(array), square if affine is None else np.asarray(affine))
        image.to_filename(path)
        return path

    return write


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Writes a model that thresholds the intensities, a package like any other, and returns its folder.

    Above 0.5 a voxel is organ (value 1 in masks), above 100.5, or as asked, lesion (value 4).
    """

    def write(
        name: str = "model",
        *,
        lesion: float = LESION,
        spacing_mm: tuple[float, float, float] | None = None,
        parts: dict[str, Part] | None = None,
        patch_size: tuple[int, int, int] = (16, 16, 16),
        unit: Unit = "mm",
    ) -> Path:
        manifest = threshold_manifest(spacing_mm, parts, patch_size)
        preprocessing = manifest.preprocessing.model_copy(update={"unit": unit})
        manifest = manifest.model_copy(update={"preprocessing": preprocessing})
        save_model(tmp_path / name, _threshold_weights(lesion), manifest)
        return tmp_path / name

    return write


def _threshold_weights(lesion: float) -> dict[str, Tensor]:
    """Logits 0, x - ORGAN and 2 x - ORGAN - lesion: the second wins from x = ORGAN, the third from x = lesion.

    The intensity x (0 or more) goes through the finest stage and its skip connection; the bottleneck adds nothing.
    """
    layers = {
        "encoder.0.blocks.0.0": ([[1.0]], [0.0]),
        "encoder.1.blocks.0.0": ([[0.0]], [0.0]),
        "decoder.0.up.conv": ([[0.0]], [0.0]),
        "decoder.0.blocks.0.0": ([[0.0, 1.0]], [0.0]),
        "heads.0": ([[0.0], [1.0], [2.0]], [0.0, -ORGAN, -ORGAN - lesion]),
    }
    weights = {f"{name}.weight": torch.tensor(weight)[..., None, None, None] for name, (weight, _) in layers.items()}
    return weights | {f"{name}.bias": torch.tensor(bias) for name, (_, bias) in layers.items()}


def threshold_manifest(
    spacing_mm: tuple[float, float, float] | None = None,
    parts: dict[str, Part] | None = None,
    patch_size: tuple[int, int, int] = (16, 16, 16),
) -> Manifest:
    """The manifest of the model that `write_model` writes."""
    clip = ClipNormalisation(low=0.0, high=1e6, mean=0.0, std=1.0)
    return Manifest(
        name="threshold",
        labels={"organ": 1, "lesion": 4},
        modalities=("CT",),
        preprocessing=FittedPreprocessing(
            spacing_mm=spacing_mm, crop="nonzero", channels=(clip,), resampling_order=1, anisotropy_ratio=3.0
        ),
        network=NetworkConfig(
            features=(1, 1),
            kernels=((1, 1, 1), (1, 1, 1)),
            strides=((1, 1, 1), (1, 1, 1)),
            encoder_convolutions=(1, 1),
            decoder_convolutions=(1,),
            norm="none",
            activation="relu",
            deep_supervision=0,
        ),
        patch_size=patch_size,
        mirror_axes=(0, 1, 2),
        inference=InferenceConfig(overlap=0.0, device="cpu", backend="torch", precision="fp32", threads=1),
        evaluation=EvaluationConfig(bootstrap_samples=100),
        parts=parts or {},
        validation_dice=None,
        weights_sha256="",
        provenance=Provenance(
            code_version="0",
            commit=None,
            created="2020-01-01T00:00:00+00:00",
            run_id=None,
            dataset="none",
            seed=0,
            epochs=0,
            seconds=0.0,
            precision="fp32",
            threads=1,
        ),
    )
