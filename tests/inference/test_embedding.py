"""Codes of scans: of one window, of many, and of what is padded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.inference.embedding import Embedder
from pipeline.manifest import AutoencoderManifest, Provenance
from pipeline.model import AutoencoderModel
from pipeline.networks.autoencoder import Autoencoder, Code, Reconstruction
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.prepare import Prepared, prepare
from pipeline.scan import Scan

FITTED = FittedPreprocessing(
    spacing_mm=(1.0, 1.0, 1.0), crop="none", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
)
PROVENANCE = Provenance(
    code_version="0",
    commit=None,
    created="2026-01-01",
    run_id=None,
    dataset="set",
    seed=0,
    epochs=1,
    seconds=1.0,
    precision="fp32",
    threads=1,
)


def manifest(patch_size: tuple[int, ...], **settings: object) -> AutoencoderManifest:
    dimensions = len(patch_size)
    network = {"dimensions": dimensions, "features": (4, 8), "skips": (False,), "deep_supervision": 0}
    return AutoencoderManifest(
        name="test",
        modalities=("MR",),
        preprocessing=FITTED.model_copy(update={"slice_axis": 2 if dimensions == 2 else None}),
        network=NetworkConfig.model_validate(network),
        patch_size=patch_size,
        inference=InferenceConfig(),
        parts={},
        weights_sha256="",
        provenance=PROVENANCE,
        autoencoder=AutoencoderConfig.model_validate(settings),
        bounds=(-2.0, 2.0),
        validation={},
    )


class MeanCode(nn.Module):
    """The code is the window's mean, and the reconstruction is off by one everywhere."""

    def forward(self, x: Tensor) -> Reconstruction:
        return Reconstruction(x + 1, Code(x.flatten(1).mean(1, keepdim=True)))


def embedder(network: nn.Module, patch_size: tuple[int, ...], **settings: object) -> Embedder:
    model = AutoencoderModel(manifest(patch_size, **settings), network)  # type: ignore[arg-type]  # a stand-in
    return Embedder(model, InferenceConfig(device="cpu", precision="fp32", overlap=0.0))


def prepared(*shape: int) -> Prepared:
    array = np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32)
    return prepare(Scan(array, np.eye(4), Path("scan.nii")), FITTED)


def test_the_code_of_a_scan_as_large_as_the_patch_is_that_of_the_network() -> None:
    torch.manual_seed(0)
    settings = manifest((8, 8, 8), code_size=5)
    network = Autoencoder(settings.network, settings.autoencoder, channels=1, patch_size=(8, 8, 8)).eval()
    scan = prepared(8, 8, 8)
    found = embedder(network, (8, 8, 8), code_size=5).embed(scan)
    x = torch.from_numpy(scan.image)[None]
    with torch.inference_mode():
        expected = network(x)
    np.testing.assert_allclose(found.code, expected.code.units[0].numpy(), rtol=1e-5)
    assert found.mse == pytest.approx(float(((expected.output - x) ** 2).mean()), rel=1e-5)


def test_the_code_of_a_larger_scan_is_the_mean_over_its_windows() -> None:
    scan = prepared(16, 8, 8)
    found = embedder(MeanCode(), (8, 8, 8)).embed(scan)
    assert found.code[0] == pytest.approx(scan.image.mean(), abs=1e-6)
    assert found.mse == pytest.approx(1.0, rel=1e-5)


def test_the_error_of_a_smaller_scan_leaves_out_what_was_padded() -> None:
    class ZeroOutside(nn.Module):
        """Right in the middle 6 voxels of each axis, and far off beside them."""

        def forward(self, x: Tensor) -> Reconstruction:
            wrong = torch.full_like(x, 100.0)
            wrong[:, :, 1:7, 1:7, 1:7] = 0.5
            return Reconstruction(x + wrong, Code(torch.zeros(1, 2)))

    assert embedder(ZeroOutside(), (8, 8, 8)).embed(prepared(6, 6, 6)).mse == pytest.approx(0.25, rel=1e-5)


def test_a_feature_map_becomes_the_means_of_its_channels() -> None:
    class Map(nn.Module):
        """A feature map whose channels are constants."""

        def forward(self, x: Tensor) -> Reconstruction:
            return Reconstruction(x, Code(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1, 1).expand(1, 2, 4, 4, 4)))

    assert embedder(Map(), (8, 8, 8)).embed(prepared(8, 8, 8)).code.tolist() == [1.0, 2.0]


def test_slices_of_a_volume_are_windows_of_a_network_of_images() -> None:
    class Slices(MeanCode):
        """Sees images alone."""

        def forward(self, x: Tensor) -> Reconstruction:
            assert x.shape == (1, 1, 8, 8)
            return super().forward(x)

    scan = prepared(8, 8, 3)
    found = embedder(Slices(), (8, 8)).embed(scan)
    assert found.code[0] == pytest.approx(scan.image.mean(), abs=1e-6)
