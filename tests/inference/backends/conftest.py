"""Small networks, and requests to convert them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.config.network import NetworkConfig
from pipeline.inference.backends.conversion import ConversionRequest
from pipeline.networks.unet import UNet

Requested = tuple[ConversionRequest, UNet]
MakeRequested = Callable[..., Requested]


@pytest.fixture(scope="session")
def requested() -> MakeRequested:
    """Makes a network of random weights, two channels in and three classes out, and a request to convert it."""

    def make(seed: int = 0, side: int = 16, **settings: object) -> Requested:
        small = {"features": (8, 16), "deep_supervision": 0, "dimensions": 3} | settings
        config = NetworkConfig.model_validate(small)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = UNet(config, 2, 3).eval()
        patch_size = (side,) * config.dimensions
        request = ConversionRequest(
            network=config, channels=2, classes=3, patch_size=patch_size, precision="fp32", threads=1
        )
        return request, network

    return make


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
