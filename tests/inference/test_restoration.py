"""Restored images: on which grid, and of which networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ModelError
from pipeline.inference.restoration import Restorer
from pipeline.model import AutoencoderModel
from pipeline.networks.autoencoder import Code, Reconstruction
from pipeline.preprocessing.prepare import prepare
from pipeline.scan import Scan
from tests.inference.test_embedding import manifest

CONFIG = InferenceConfig(device="cpu", precision="fp32", overlap=0.5)
NOISE = {"kind": "denoising", "corruption": {"noise": (0, 1)}}
COARSE = {"kind": "denoising", "corruption": {"downsampling": (2, 2), "downsampling_axes": (2,)}}


class AddOne(nn.Module):
    """Makes everything one deviation brighter."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Reconstruction:
        return Reconstruction(x + self.value, Code(torch.zeros(len(x), 2)))


def restorer(network: nn.Module, patch_size: tuple[int, ...], **settings: object) -> Restorer:
    return Restorer(AutoencoderModel(manifest(patch_size, **settings), network), CONFIG)  # type: ignore[arg-type]


def scan(*shape: int, spacing_mm: float = 1.0) -> Scan:
    array = np.random.default_rng(0).normal(10, 3, (1, *shape)).astype(np.float32)
    return Scan(array, np.diag([1.0, 1.0, spacing_mm, 1.0]), Path("scan.nii"))


@pytest.mark.parametrize("shape", [(8, 8, 8), (13, 9, 20), (5, 8, 3)])
def test_windows_are_joined_without_a_seam(shape: tuple[int, ...]) -> None:
    tool = restorer(AddOne(), (8, 8, 8), **NOISE)
    given = scan(*shape)
    found = tool.restore(given, prepare(given, tool.manifest.preprocessing))
    np.testing.assert_allclose(found.array - given.array, given.array.std(), rtol=1e-4)
    assert found.affine is given.affine


def test_slices_are_restored_one_by_one_by_a_network_of_images() -> None:
    tool = restorer(AddOne(), (8, 8), **NOISE)
    given = scan(8, 11, 3)
    found = tool.restore(given, prepare(given, tool.manifest.preprocessing))
    np.testing.assert_allclose(found.array - given.array, given.array.std(), rtol=1e-4)


def test_what_learnt_a_higher_resolution_gives_its_own_grid() -> None:
    tool = restorer(AddOne(), (8, 8, 8), **COARSE)
    given = scan(8, 8, 4, spacing_mm=3.0)
    found = tool.restore(given, prepare(given, tool.manifest.preprocessing))
    assert found.shape == (8, 8, 12)
    np.testing.assert_allclose(np.diag(found.affine), [1, 1, 1, 1])
    assert found.affine[2, 3] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"kind": "undercomplete", "code_size": 4}, "undercomplete"),
        ({"kind": "denoising", "corruption": {"masked_share": 0.5, "only_masked": True}}, "masked"),
    ],
)
def test_other_kinds_restore_nothing(settings: dict[str, object], kind: str) -> None:
    with pytest.raises(ModelError, match=rf"an autoencoder that restores scans; found one of kind {kind}\."):
        restorer(AddOne(), (8, 8, 8), **settings)


def test_an_output_that_is_not_finite_is_refused() -> None:
    tool = restorer(AddOne(float("nan")), (8, 8, 8), **NOISE)
    given = scan(8, 8, 8)
    with pytest.raises(ModelError, match=r"intensities from the network; found values that are not finite"):
        tool.restore(given, prepare(given, tool.manifest.preprocessing))
