"""Small networks, and the orders to convert them."""

from collections.abc import Callable

import pytest
import torch

from pipeline.config.network import NetworkConfig
from pipeline.inference.backends.conversion import Order
from pipeline.networks.unet import UNet

Ordered = tuple[Order, UNet]
MakeOrdered = Callable[..., Ordered]


@pytest.fixture(scope="session")
def ordered() -> MakeOrdered:
    """Makes a network of random weights, two channels in and three classes out, and its order."""

    def make(seed: int = 0, **settings: object) -> Ordered:
        small = {"features": (8, 16), "deep_supervision": 0, "dimensions": 3} | settings
        config = NetworkConfig.model_validate(small)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = UNet(config, 2, 3).eval()
        patch_size = (16,) * config.dimensions
        return Order(network=config, channels=2, classes=3, patch_size=patch_size, precision="fp32", threads=1), network

    return make
