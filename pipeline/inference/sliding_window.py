"""Running a network over an image larger than its patch.

Tensors are B C D H W; an image is C D H W. Patches overlap and their probabilities are averaged with Gaussian weights,
because a network is surest in the middle of its patch (Isensee et al., Nature Methods 2021).
"""

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise, product

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.inference.windows import slab_shape, starts, streaming_axis

Network = Callable[[Tensor], Tensor]
Finish = Callable[[Tensor], Tensor]
SIGMA_SHARE = 1 / 8
"""Standard deviation of the Gaussian, as a share of the patch."""


def softmax(logits: Tensor) -> Tensor:
    """Probabilities of a window (classes, ...)."""
    return logits.softmax(0)


def sliding_window(
    network: Network, image: Tensor, patch_size: tuple[int, ...], *, overlap: float, finish: Finish = softmax
) -> Tensor:
    """Probabilities of every voxel of an image, as `slide` gives them, put together.

    Returns:
        (classes, D, H, W), float32, on the CPU; they sum to 1.
    """
    axis = streaming_axis(tuple(image.shape[1:]), patch_size)
    whole, first = torch.empty(0), 0
    for slab in slide(network, image, patch_size, overlap=overlap, finish=finish):
        if first == 0:
            whole = torch.empty(len(slab), *image.shape[1:])
        planes = slab.shape[1 + axis]
        whole.narrow(1 + axis, first, planes).copy_(slab)
        first += planes
    return whole


def slide(
    network: Network, image: Tensor, patch_size: tuple[int, ...], *, overlap: float, finish: Finish = softmax
) -> Iterator[Tensor]:
    """Probabilities of an image in slabs along its `streaming_axis`, each one once no window touches it any more.

    The sums are as deep as a patch, and what is handed out leaves them at the front. Of a patch of 4 and a size of 10:

        planes   0  1  2  3  4  5  6  7  8  9
        windows  [--------]                         then 0 and 1 are handed out,
                       [--------]                   2 and 3,
                             [--------]             4 and 5,
                                   [--------]       6 to 9

    Args:
        network: (1, C, *patch_size) -> logits (1, classes, *patch_size).
        image: (C, D, H, W); axes shorter than the patch are padded with zeros on both sides, and cropped again.
        patch_size: size of the network's input.
        overlap: share of a patch that its neighbour may cover again, from 0 to below 1.
        finish: from the output of a window to what is averaged; by default probabilities.

    Yields:
        (classes, D, H, W), float32, on the CPU, of some planes and all of the other axes; they sum to 1.
    """
    padded, inner = pad_to(image, patch_size)
    shape = tuple(padded.shape[1:])
    axis = streaming_axis(shape, patch_size)
    corners = [starts(n, p, overlap) for n, p in zip(shape, patch_size, strict=True)]
    sums = _Sums(slab_shape(shape, patch_size, axis), gaussian(patch_size), axis)
    for start, following in pairwise([*corners[axis], shape[axis]]):
        for corner in product(*(places if each != axis else [start] for each, places in enumerate(corners))):
            box = tuple(slice(first, first + p) for first, p in zip(corner, patch_size, strict=True))
            sums.add(finish(network(padded[(slice(None), *box)][None])[0].float()).cpu(), box)
        crop = list(inner)
        crop[axis] = slice(max(0, inner[axis].start - start), min(following, inner[axis].stop) - start)
        yield sums.take(following - start)[(slice(None), *crop)]


class _Sums:
    """Weighted sums over windows, of the planes that windows still touch.

    Args:
        shape: of these planes (D, H, W).
        weights: of a window.
        axis: along which the planes follow each other.
    """

    def __init__(self, shape: tuple[int, ...], weights: Tensor, axis: int) -> None:
        self.weights, self.axis, self.first = weights, axis, 0
        self.total = torch.zeros(0, *shape)
        self.mass = torch.zeros(shape)

    def add(self, probabilities: Tensor, box: tuple[slice, ...]) -> None:
        """Add a window (classes, *patch), which is used up, at its place in the image."""
        if len(self.total) == 0:
            self.total = torch.zeros(len(probabilities), *self.mass.shape)
        begin = box[self.axis].start - self.first
        place = list(box)
        place[self.axis] = slice(begin, begin + self.weights.shape[self.axis])
        self.total[(slice(None), *place)] += probabilities.mul_(self.weights)
        self.mass[tuple(place)] += self.weights

    def take(self, planes: int) -> Tensor:
        """Means of the first planes (classes, D, H, W), which make room for as many empty ones at the end."""
        self.first += planes
        done = self.total.narrow(1 + self.axis, 0, planes).div_(self.mass.narrow(self.axis, 0, planes))
        if planes == self.mass.shape[self.axis]:
            self.total, self.mass = self.total[:0], torch.zeros_like(self.mass)
            return done
        done = done.clone()
        _advance(self.total, 1 + self.axis, planes)
        _advance(self.mass, self.axis, planes)
        return done


def _advance(sums: Tensor, axis: int, planes: int) -> None:
    """Move what lies behind the first planes to the front, plane by plane since the two may overlap."""
    kept = sums.shape[axis] - planes
    for plane in range(kept):
        sums.select(axis, plane).copy_(sums.select(axis, plane + planes))
    sums.narrow(axis, kept, planes).zero_()


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
