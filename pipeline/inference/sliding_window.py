"""Running a network over an image larger than its patch.

Tensors are B C D H W; an image is C D H W. Patches overlap and their probabilities are averaged with Gaussian weights,
because a network is surest in the middle of its patch (Isensee et al., Nature Methods 2021).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.inference.cells import Cells
from pipeline.inference.windows import Box, WindowGrid

Network = Callable[[Tensor], Tensor]
"""From a window to logits that nobody else holds: they are written over."""
Finish = Callable[[Tensor], Tensor]
SIGMA_SHARE = 1 / 8
"""Standard deviation of the Gaussian, as a share of the patch."""


@dataclass(frozen=True, eq=False)
class Block:
    """A part of an image that no window touches any more.

    Attributes:
        box: where it lies in the image.
        scores: of its voxels (classes, D, H, W), float32, on the CPU; probabilities sum to 1, nearly where `cells` were
            put away in 8 bits.
    """

    box: Box
    scores: Tensor


def softmax(logits: Tensor) -> Tensor:
    """Probabilities of a window (classes, ...), in the place of its logits: of a hundred classes, they are large."""
    logits -= logits.amax(0)
    logits.exp_()
    return logits.div_(logits.sum(0))


def sliding_window(
    network: Network, image: Tensor, patch_size: tuple[int, ...], *, overlap: float, finish: Finish = softmax
) -> Tensor:
    """Probabilities of every voxel of an image, as `slide` gives them, put together.

    Returns:
        (classes, D, H, W), float32, on the CPU.
    """
    whole: Tensor | None = None
    for block in slide(network, image, patch_size, overlap=overlap, finish=finish):
        if whole is None:
            whole = torch.empty(len(block.scores), *image.shape[1:])
        whole[(slice(None), *block.box)] = block.scores
    assert whole is not None
    return whole


def slide(
    network: Network, image: Tensor, patch_size: tuple[int, ...], *, overlap: float, finish: Finish = softmax
) -> Iterator[Block]:
    """Probabilities of an image in blocks, each one once no window touches it any more.

    What is held meanwhile does not grow with the image's longest axis, and hardly with its other ones (`cells`).

    Args:
        network: (1, C, *patch_size) -> logits (1, classes, *patch_size).
        image: (C, D, H, W); axes shorter than the patch are padded with zeros on both sides, and cropped again.
        patch_size: size of the network's input.
        overlap: share of a patch that its neighbour may cover again, from 0 to below 1.
        finish: from the output of a window, which it may write over, to what is averaged; by default probabilities.

    Yields:
        Blocks in the order of `WindowGrid.places`, which cover the image.
    """
    padded, inner = pad_to(image, patch_size)
    grid = WindowGrid(tuple(padded.shape[1:]), patch_size, overlap)
    cells = Cells(grid, gaussian(patch_size))
    for place in grid.places():
        if grid.has_window(place):
            window = padded[(slice(None), *grid.window(place))][None]
            cells.add(place, finish(network(window)[0].float()).cpu())
        yield _cropped(cells.take(place), grid.cell(place), inner)


def _cropped(scores: Tensor, cell: Box, inner: Box) -> Block:
    """What a cell of a padded image has of the image, which lies in a box of it."""
    kept = [slice(max(c.start, i.start), min(c.stop, i.stop)) for c, i in zip(cell, inner, strict=True)]
    own = (slice(k.start - c.start, k.stop - c.start) for k, c in zip(kept, cell, strict=True))
    box = tuple(slice(k.start - i.start, k.stop - i.start) for k, i in zip(kept, inner, strict=True))
    return Block(box, scores[(slice(None), *own)])


def mirrored(
    network: Network,
    axes: tuple[int, ...],
    *,
    first: Network | None = None,
    each: Callable[[Tensor], None] | None = None,
) -> Network:
    """A network that averages its probabilities over all mirrored copies of its input.

    Args:
        network: the plain network.
        axes: spatial axes to mirror, counted from 0; n axes make 2^n copies.
        first: the same network, for the input as it is; by default ``network``.
        each: is given the probabilities of each copy, mirrored back, those of the input as it is first.

    Returns:
        A network whose output is the logarithm of the mean probability, which stands in for logits.
    """

    def average(batch: Tensor) -> Tensor:
        views = [[axis + 2 for axis in chosen] for chosen in _subsets(axes)]
        runs, total = [first or network, *[network] * (len(views) - 1)], torch.zeros(())
        for run, view in zip(runs, views, strict=True):
            probabilities = run(batch.flip(view)).float().softmax(1).flip(view)
            if each is not None:
                each(probabilities)
            total = total.add_(probabilities) if total.ndim else probabilities
            del probabilities  # before the network runs again
        mean = total.div_(len(views))
        return mean.clamp_min(torch.finfo(torch.float32).tiny).log()  # a probability may be too small for 32 bits

    return average


def gaussian(patch_size: tuple[int, ...]) -> Tensor:
    """Weights of a patch: 1 in the middle, falling off with a deviation of an eighth of the patch, never 0."""
    weights = torch.ones(())
    for n in patch_size:
        distance = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) / (n * SIGMA_SHARE)
        weights = weights[..., None] * torch.exp(-(distance**2) / 2)
    return weights.clamp_min(1e-4)


def pad_to(image: Tensor, patch_size: tuple[int, ...]) -> tuple[Tensor, tuple[slice, ...]]:
    """An image padded with zeros to at least the patch's size, or itself where it is, and where it lies in that.

    A patch is centred on the middle of a short axis (`samples.patches.cut`); here it is padded the same way.
    """
    before = [max(0, p // 2 - n // 2) for n, p in zip(image.shape[1:], patch_size, strict=True)]
    after = [max(0, p - n - b) for n, p, b in zip(image.shape[1:], patch_size, before, strict=True)]
    widths = [width for pair in reversed(list(zip(before, after, strict=True))) for width in pair]
    inner = tuple(slice(b, b + n) for b, n in zip(before, image.shape[1:], strict=True))
    return functional.pad(image, widths) if any(widths) else image, inner


def _subsets(axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for count in range(len(axes) + 1):
        yield from combinations(axes, count)
