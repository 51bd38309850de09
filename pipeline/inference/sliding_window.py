"""Running a network over an image larger than its patch.

Tensors are B C D H W; an image is C D H W. Patches overlap and their probabilities are averaged with Gaussian weights,
because a network is surest in the middle of its patch (Isensee et al., Nature Methods 2021).
"""

from collections.abc import Callable, Iterator
from itertools import combinations, product

import torch
from torch import Tensor
from torch.nn import functional

Network = Callable[[Tensor], Tensor]
SIGMA_SHARE = 1 / 8
"""Standard deviation of the Gaussian, as a share of the patch."""


def sliding_window(network: Network, image: Tensor, patch_size: tuple[int, ...], *, overlap: float) -> Tensor:
    """Probabilities of every voxel of an image.

    Args:
        network: (1, C, *patch_size) -> logits (1, classes, *patch_size).
        image: (C, D, H, W); axes shorter than the patch are padded with zeros on both sides, and cropped again.
        patch_size: size of the network's input.
        overlap: share of a patch that its neighbour may cover again, from 0 to below 1.

    Returns:
        (classes, D, H, W), float32, on the CPU; they sum to 1.
    """
    padded, inner = pad_to(image, patch_size)
    weights = gaussian(patch_size)
    total: Tensor | None = None
    mass = torch.zeros(padded.shape[1:])
    for corner in product(*(starts(n, p, overlap) for n, p in zip(padded.shape[1:], patch_size, strict=True))):
        box = tuple(slice(start, start + p) for start, p in zip(corner, patch_size, strict=True))
        probabilities = network(padded[(slice(None), *box)][None])[0].float().softmax(0).cpu()
        if total is None:
            total = torch.zeros(len(probabilities), *padded.shape[1:])
        total[(slice(None), *box)] += probabilities * weights
        mass[box] += weights
    assert total is not None
    return (total / mass)[(slice(None), *inner)]


def mirrored(network: Network, axes: tuple[int, ...]) -> Network:
    """A network that averages its probabilities over all mirrored copies of its input.

    Args:
        network: the plain network.
        axes: spatial axes to mirror, counted from 0; n axes make 2^n copies.

    Returns:
        A network whose output is the logarithm of the mean probability, which stands in for logits.
    """

    def average(batch: Tensor) -> Tensor:
        views = [[axis + 2 for axis in chosen] for chosen in _subsets(axes)]
        flipped = (network(batch.flip(view)).float().softmax(1).flip(view) for view in views)
        mean = sum(flipped, torch.zeros(())) / len(views)
        return mean.clamp_min(torch.finfo(torch.float32).tiny).log()  # a probability may be too small for 32 bits

    return average


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """Where patches begin along an axis: evenly spread, the first at 0 and the last ending with the image.

    Example:
        >>> starts(10, patch=4, overlap=0.5)
        [0, 2, 4, 6]
    """
    last = size - patch
    steps = -(-last // max(1, int(patch * (1 - overlap))))  # rounded up
    return [round(last * index / steps) for index in range(steps + 1)] if steps > 0 else [0]


def gaussian(patch_size: tuple[int, ...]) -> Tensor:
    """Weights of a patch: 1 in the middle, falling off with a deviation of an eighth of the patch, never 0."""
    weights = torch.ones(())
    for n in patch_size:
        distance = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) / (n * SIGMA_SHARE)
        weights = weights[..., None] * torch.exp(-(distance**2) / 2)
    return weights.clamp_min(1e-4)


def pad_to(image: Tensor, patch_size: tuple[int, ...]) -> tuple[Tensor, tuple[slice, ...]]:
    """An image padded with zeros to at least the patch's size, and where it lies in that.

    A patch is centred on the middle of a short axis (`samples.patches.cut`); here it is padded the same way.
    """
    before = [max(0, p // 2 - n // 2) for n, p in zip(image.shape[1:], patch_size, strict=True)]
    after = [max(0, p - n - b) for n, p, b in zip(image.shape[1:], patch_size, before, strict=True)]
    widths = [width for pair in reversed(list(zip(before, after, strict=True))) for width in pair]
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
    return functional.pad(image, widths), inner


def _subsets(axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for count in range(len(axes) + 1):
        yield from combinations(axes, count)
