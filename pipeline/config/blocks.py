"""What the blocks of a network are made of: one description that gives the layers, their sizes and their reach.

A block is one or more branches beside each other, whose outputs are added up or concatenated. Nothing here needs torch,
so that a patch is checked against the network before torch is loaded; `pipeline.networks.blocks` makes the layers.

A new kind of block is a function from a `Place` to a `Block`, and its line in `BLOCKS` (docs/extending.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline import sizes
from pipeline.sizes import Size, Window


@dataclass(frozen=True)
class Place:
    """Where a block stands in the network: the channels that it takes in and gives out, its kernel and its step.

    A kernel is odd, and 1 along an axis keeps the voxels apart that lie behind each other there.
    """

    channels_in: int
    channels_out: int
    kernel: Size
    stride: Size

    @property
    def ones(self) -> Size:
        """A kernel over one voxel, or no step."""
        return (1,) * len(self.kernel)


@dataclass(frozen=True)
class Conv:
    """A convolution padded by half its kernel and its normalisation; behind them the activation, unless left out."""

    channels: int
    kernel: Size
    stride: Size
    activated: bool = True


@dataclass(frozen=True)
class Pool:
    """Max pooling padded by half its kernel, so that it changes sizes as a `Conv` of that kernel and stride does."""

    kernel: Size
    stride: Size


Layer = Conv | Pool


@dataclass(frozen=True)
class Block:
    """Branches that all see the block's input.

    Attributes:
        branches: the layers of each by its name; one without layers hands the input on.
        joined: "concatenated" puts the channels behind each other; "added" sums them up, and activates the sum.
    """

    branches: dict[str, tuple[Layer, ...]]
    joined: Literal["concatenated", "added"] = "concatenated"


def plain(place: Place) -> Block:
    """A convolution."""
    return Block({"conv": (Conv(place.channels_out, place.kernel, place.stride),)})


def residual(place: Place) -> Block:
    """Two convolutions beside a shortcut, as in He et al. 2016 (arXiv:1512.03385, fig. 2 and option B)."""
    first = Conv(place.channels_out, place.kernel, place.stride)
    second = Conv(place.channels_out, place.kernel, place.ones, activated=False)
    return Block({"main": (first, second), "shortcut": shortcut(place)}, joined="added")


def shortcut(place: Place) -> tuple[Layer, ...]:
    """The input itself where it has the output's channels and size; else a convolution over one voxel, which steps."""
    if place.channels_in == place.channels_out and place.stride == place.ones:
        return ()
    return (Conv(place.channels_out, place.ones, place.stride, activated=False),)


def inception(place: Place) -> Block:
    """Four reaches beside each other, as in Szegedy et al. 2015 (arXiv:1409.4842, fig. 2b).

    With a kernel of 3 they are GoogLeNet's convolutions of 1, 3 and 5 voxels and its pooling of 3; a larger kernel k
    gives 1, k, k + 2 and pooling of k, and an axis along which the kernel is 1 stays at 1 in all. Channels are shared
    out as in GoogLeNet's inception (3a), 64 : 128 : 32 : 32, behind reductions to three quarters of the 128 and half of
    the first 32. The layer of a branch that reaches furthest takes the step, behind a reduction at full size.
    """
    ones, eighth, half = place.ones, place.channels_out // 8, place.channels_out // 2
    wide = tuple(k + 2 if k > 1 else 1 for k in place.kernel)
    return Block(
        {
            "point": (Conv(place.channels_out - half - 2 * eighth, ones, place.stride),),
            "middle": (Conv(half * 3 // 4, ones, ones), Conv(half, place.kernel, place.stride)),
            "wide": (Conv((eighth + 1) // 2, ones, ones), Conv(eighth, wide, place.stride)),
            "pooled": (Pool(place.kernel, place.stride), Conv(eighth, ones, ones)),
        }
    )


BLOCKS: dict[str, Callable[[Place], Block]] = {
    "plain": plain,
    "residual": residual,
    "inception": inception,
}
"""The kinds of `network.block`."""


def _check_kind(kind: str) -> str:
    if kind not in BLOCKS:
        raise ValueError(f"must be one of {', '.join(BLOCKS)}, found {kind!r}")
    return kind


BlockKind = Annotated[str, AfterValidator(_check_kind), Field(json_schema_extra={"enum": [*BLOCKS]})]


def stage_places(channels: list[int], kernel: Size, stride: Size) -> list[Place]:
    """Where the blocks of a stage stand; the first of them takes the step.

    Args:
        channels: of the input, and of what each block gives out.
        kernel: of every block.
        stride: the step into the stage.
    """
    ones = (1,) * len(kernel)
    steps = [stride] + [ones] * (len(channels) - 2)
    return [Place(before, after, kernel, step) for (before, after), step in zip(pairwise(channels), steps, strict=True)]


def block_window(name: str, kind: str, place: Place) -> Window:
    """A whole block as one window: it steps as the block does, and sees along each axis as far as any branch."""
    branches = [layers for layers in BLOCKS[kind](place).branches.values() if layers]
    fields = [sizes.receptive_field([_layer_window(layer) for layer in layers]) for layers in branches]
    reach = tuple(max(along_axis) for along_axis in zip(*fields, strict=True))
    return Window(name, reach, place.stride, sizes.half(reach))


def narrowest(kind: str) -> int:
    """The smallest number of channels that gives every layer of a block one or more.

    Example:
        >>> narrowest("inception")
        8
    """
    return next(width for width in range(1, 1 << 16) if _is_wide_enough(kind, width))


def _is_wide_enough(kind: str, width: int) -> bool:
    block = BLOCKS[kind](Place(width, width, (3,), (2,)))
    layers = [layer for branch in block.branches.values() for layer in branch]
    return all(layer.channels >= 1 for layer in layers if isinstance(layer, Conv))


def _layer_window(layer: Layer) -> Window:
    return Window("", layer.kernel, layer.stride, sizes.half(layer.kernel))
