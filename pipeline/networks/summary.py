"""What a network is made of and what it costs, without running it: every tensor is on PyTorch's meta device."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline import sizes
from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.network import NetworkConfig
from pipeline.networks.autoencoder import Autoencoder
from pipeline.networks.unet import UNet

BYTES_PER_VALUE = 4
ADAM_COPIES = 4
"""Weights, gradients and the optimiser's two moments."""


@dataclass(frozen=True)
class LayerRow:
    """A layer: its name, type, output shape without the batch, and number of parameters."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """A network's layers and costs for one patch.

    Attributes:
        layers: in the order in which data passes them.
        parameters: weights in all.
        receptive_field_voxels: input voxels that one voxel of the bottleneck sees.
        gflop: multiplications and additions of a forward pass of one patch, in 10^9.
        training_gb: rough memory of a training step: kept activations, weights, gradients and moments in fp32.
    """

    layers: tuple[LayerRow, ...]
    parameters: int
    receptive_field_voxels: tuple[int, ...]
    gflop: float
    training_gb: float


def summarise_unet(
    config: NetworkConfig, *, channels: int, classes: int, patch_size: sizes.Size, batch_size: int
) -> Summary:
    """Trace a U-Net over a patch.

    Raises:
        ConfigError: the patch does not fit a layer; the message names it.
    """
    return _summarise(config, lambda: UNet(config, channels, classes), (channels, *patch_size), batch_size=batch_size)


def summarise_autoencoder(
    config: NetworkConfig,
    autoencoder: AutoencoderConfig,
    *,
    channels: int,
    patch_size: sizes.Size,
    batch_size: int,
) -> Summary:
    """Trace an autoencoder over a patch; as `summarise_unet`."""

    def make() -> Autoencoder:
        return Autoencoder(config, autoencoder, channels=channels, patch_size=patch_size)

    return _summarise(config, make, (channels, *patch_size), batch_size=batch_size)


def _summarise(
    config: NetworkConfig, make: Callable[[], nn.Module], shape: tuple[int, ...], *, batch_size: int
) -> Summary:
    """Trace a network over a patch (C, ...)."""
    windows = config.encoder_windows()
    sizes.trace(shape[1:], windows)
    with torch.device("meta"):
        network, patch = make(), torch.empty(1, *shape)
    rows = _trace_layers(network, patch)
    parameters = sum(p.numel() for p in network.parameters())
    activations = sum(int(torch.Size(row.shape).numel()) for row in rows)
    return Summary(
        layers=tuple(rows),
        parameters=parameters,
        receptive_field_voxels=sizes.receptive_field(windows),
        gflop=_count_flop(network, patch) / 1e9,
        training_gb=BYTES_PER_VALUE * (batch_size * activations + ADAM_COPIES * parameters) / 1e9,
    )


def _trace_layers(network: nn.Module, patch: Tensor) -> list[LayerRow]:
    rows: list[LayerRow] = []

    def record(name: str, layer: nn.Module, output: Tensor) -> None:
        parameters = sum(p.numel() for p in layer.parameters())
        rows.append(LayerRow(name, type(layer).__name__, tuple(output.shape[1:]), parameters))

    hooks = [
        layer.register_forward_hook(lambda layer, _, output, name=name: record(name, layer, output))
        for name, layer in network.named_modules()
        if not list(layer.children()) and not isinstance(layer, nn.Identity)
    ]
    network.train()(patch)
    for hook in hooks:
        hook.remove()
    return rows


def _count_flop(network: nn.Module, patch: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        network.eval()(patch)
    return counter.get_total_flops()
