"""The parts that networks are made of; 2D and 3D differ in the table of layers below and nowhere else.

Tensors are B C D H W, or B C H W in 2D.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline import sizes
from pipeline.config.blocks import BLOCKS, Conv, Layer, Place, Pool
from pipeline.sizes import Size


@dataclass(frozen=True)
class Layers:
    """The layer types of one number of dimensions."""

    conv: Callable[..., nn.Module]
    transposed: Callable[..., nn.Module]
    max_pool: Callable[..., nn.Module]
    batch_norm: Callable[..., nn.Module]
    interpolation: str


LAYERS = {
    2: Layers(nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.BatchNorm2d, "bilinear"),
    3: Layers(nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.BatchNorm3d, "trilinear"),
}


class InstanceNorm(nn.Module):
    """Normalise each channel of each image to zero mean and unit variance, then scale and shift it.

    As ``torch.nn.InstanceNorm3d(affine=True)``, but an image at a time through batch normalisation's kernel, which
    keeps the channels-last layout; PyTorch's own copies to the other layout and back, at a quarter of a training
    step's time on a CPU (forward and backward on 2 x 16 x 40 x 56 x 40: 7.6 ms against 29.6 ms).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape."""
        if x.device.type != "cpu" or torch.jit.is_tracing():  # type: ignore[attr-defined]  # torch's stub
            return functional.instance_norm(x, weight=self.weight, bias=self.bias)
        images = [
            functional.batch_norm(image, None, None, self.weight, self.bias, training=True) for image in x.split(1)
        ]
        return torch.cat(images)


class GroupNorm(nn.GroupNorm):
    """Normalise groups of about eight channels of each image."""

    def __init__(self, channels: int) -> None:
        super().__init__(next(n for n in range(max(1, channels // 8), 0, -1) if channels % n == 0), channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape; traced in parts, since OpenVINO 2026.4 crashes of it in residual blocks."""
        if not torch.jit.is_tracing():  # type: ignore[attr-defined]  # torch's stub
            return super().forward(x)
        groups = functional.instance_norm(x.reshape(len(x), self.num_groups, -1), eps=self.eps)
        weight, bias = (each.reshape(-1, *[1] * (x.ndim - 2)) for each in (self.weight, self.bias))
        return groups.reshape(x.shape) * weight + bias


def make_norm(kind: str, channels: int, dimensions: int) -> nn.Module:
    """The normalisation layer of a name in `NetworkConfig.norm`."""
    norms: dict[str, Callable[[int], nn.Module]] = {
        "instance": InstanceNorm,
        "batch": LAYERS[dimensions].batch_norm,
        "group": GroupNorm,
        "none": lambda _: nn.Identity(),
    }
    return norms[kind](channels)


def make_activation(kind: str) -> nn.Module:
    """The activation of a name in `NetworkConfig.activation`."""
    activations: dict[str, Callable[[], nn.Module]] = {
        "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
        "relu": lambda: nn.ReLU(inplace=True),
        "gelu": nn.GELU,
        "silu": lambda: nn.SiLU(inplace=True),
    }
    return activations[kind]()


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of a network share."""

    dimensions: int
    kind: str
    norm: str
    activation: str


class ConvBlock(nn.Sequential):
    """Convolution, normalisation, and activation unless the layer goes without; only the stride changes the size."""

    def __init__(self, channels: int, layer: Conv, style: BlockStyle) -> None:
        conv = LAYERS[style.dimensions].conv(
            channels, layer.channels, layer.kernel, layer.stride, sizes.half(layer.kernel), bias=style.norm == "none"
        )
        norm = make_norm(style.norm, layer.channels, style.dimensions)
        super().__init__(conv, norm, *([make_activation(style.activation)] if layer.activated else []))


class Concatenated(nn.Module):
    """Branches beside each other, their channels put behind each other."""

    def __init__(self, branches: dict[str, nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Each branch sees ``x`` (B, C, ...)."""
        return torch.cat([branch(x) for branch in self.branches.values()], 1)


class Added(nn.Module):
    """Branches beside each other, summed up and activated."""

    def __init__(self, branches: dict[str, nn.Module], activation: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Each branch sees ``x`` (B, C, ...)."""
        first, *others = (branch(x) for branch in self.branches.values())
        return self.activation(sum(others, start=first))


def make_block(place: Place, style: BlockStyle) -> nn.Module:
    """The layers of a block, as `pipeline.config.blocks` describes its kind; a single branch is the block itself."""
    block = BLOCKS[style.kind](place)
    branches = {name: make_branch(place.channels_in, layers, style) for name, layers in block.branches.items()}
    if block.joined == "added":
        return Added(branches, make_activation(style.activation))
    return Concatenated(branches) if len(branches) > 1 else next(iter(branches.values()))


def make_branch(channels: int, layers: tuple[Layer, ...], style: BlockStyle) -> nn.Module:
    """Layers behind each other; a single one is itself, and none is the identity."""
    made: list[nn.Module] = []
    for layer in layers:
        made.append(make_layer(channels, layer, style))
        channels = layer.channels if isinstance(layer, Conv) else channels
    return nn.Sequential(*made) if len(made) > 1 else next(iter(made), nn.Identity())


def make_layer(channels: int, layer: Layer, style: BlockStyle) -> nn.Module:
    """A layer of a branch, for an input of so many channels."""
    match layer:
        case Conv():
            return ConvBlock(channels, layer, style)
        case Pool(kernel, stride):
            return LAYERS[style.dimensions].max_pool(kernel, stride, sizes.half(kernel))


class Upsample(nn.Module):
    """Enlarge by ``stride`` and change the number of channels.

    Args:
        channels_in: channels of the coarser stage.
        channels_out: channels of the finer stage.
        stride: factor along each axis.
        transposed: a transposed convolution whose kernel is its stride, so that windows do not overlap; otherwise
            linear interpolation and a convolution over one voxel.
        dimensions: 2 or 3.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: Size, *, transposed: bool, dimensions: int) -> None:
        super().__init__()
        layers = LAYERS[dimensions]
        self.stride = stride
        self.mode = None if transposed else layers.interpolation
        if transposed:
            self.conv = layers.transposed(channels_in, channels_out, stride, stride)
        else:
            self.conv = layers.conv(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, ...) to (B, channels_out, ...), ``stride`` times larger."""
        if self.mode is None:
            return self.conv(x)
        factors = [float(step) for step in self.stride]
        return functional.interpolate(self.conv(x), scale_factor=factors, mode=self.mode, align_corners=False)


def initialise(module: nn.Module) -> None:
    """He et al. 2015 (arXiv:1502.01852): normal weights scaled to the fan-in for leaky rectifiers, zero biases."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
