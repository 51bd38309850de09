"""What speaks for and against a mask, gathered while it is made. Tensors are C D H W, or B C D H W of windows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from pipeline.inference.sliding_window import Block
from pipeline.structures import NEIGHBOURS

VOXELS_AT_ONCE = 500_000
"""Probabilities that are counted at once, in 64 bits."""


class Agreement:
    """How far predictions of mirrored windows agree: the mean Dice between any two, counted over all windows.

    Where c of n predictions give a voxel a label, c (c - 1) / 2 of the n (n - 1) / 2 pairs agree on it. So the common
    voxels of all pairs are the sum of c (c - 1) / 2, and the voxels of both masks that of (n - 1) c.

    Args:
        classes: of the network.
        views: how many predictions of a window there are.
    """

    def __init__(self, classes: int, views: int) -> None:
        self._views, self._seen = views, 0
        self._votes = torch.empty(0)
        self._common, self._voted = np.zeros(classes), np.zeros(classes)

    def see(self, probabilities: Tensor) -> None:
        """Take in a prediction of a window (1, C, ...); each window is seen so often, before the next one."""
        winners = probabilities.argmax(1, keepdim=True)
        if self._seen == 0:
            self._votes = torch.zeros(probabilities.shape, dtype=torch.uint8, device=probabilities.device)
        self._votes.scatter_add_(1, winners, torch.ones_like(winners, dtype=torch.uint8))
        self._seen += 1
        if self._seen == self._views:
            for place, votes in enumerate(self._votes[0]):  # class by class: of a hundred, all at once are gigabytes
                counts = torch.bincount(votes.flatten(), minlength=self._views + 1).cpu().numpy()
                given = np.arange(self._views + 1)
                self._common[place] += (counts * given * (given - 1)).sum()
                self._voted[place] += (counts * given).sum()
            self._seen = 0

    def dice(self) -> NDArray[np.float64]:
        """Of each class above 0; 1 of one that no prediction has."""
        common, voted = self._common[1:], (self._views - 1) * self._voted[1:]
        return np.divide(common, voted, out=np.ones_like(common), where=voted > 0)


@dataclass(frozen=True, eq=False)
class Tally:
    """What the probabilities of a scan come to; arrays have a place for each label.

    Attributes:
        classes: the likeliest class of each voxel (I, J, K), on the prepared grid.
        voxels: where a label is the likeliest class.
        inside: the sum of its probability over these.
        total: the sum of it over all voxels.
        spread: the sum of p (1 - p) over all voxels.
        agreement: as `Agreement.dice` gives it, or None.
    """

    classes: NDArray[np.uint8]
    voxels: NDArray[np.float64]
    inside: NDArray[np.float64]
    total: NDArray[np.float64]
    spread: NDArray[np.float64]
    agreement: NDArray[np.float64] | None


class Observer:
    """Keeps what is to be known of a mask, of the probabilities that pass by.

    Args:
        shape: of the prepared grid.
        agreement: of mirrored predictions, or None.
    """

    def __init__(self, shape: tuple[int, ...], agreement: Agreement | None = None) -> None:
        self.agreement = agreement
        self._classes = torch.zeros(shape, dtype=torch.uint8)
        self._sums = torch.zeros(())

    def passing(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks of probabilities, each of them counted."""
        for block in blocks:
            self.count(block)
            yield block

    def count(self, block: Block) -> None:
        """Count a block, which no other one overlaps."""
        planes = max(1, VOXELS_AT_ONCE // max(1, block.scores[:, :1].numel()))
        classes = self._classes[block.box]
        for part, own in zip(block.scores.split(planes, 1), classes.split(planes, 0), strict=True):
            highest, winners = part.max(0)
            flat, rows = winners.flatten(), part.flatten(1).double()
            sums = [
                torch.bincount(flat, minlength=len(part)).double(),
                torch.bincount(flat, weights=highest.flatten().double(), minlength=len(part)),
                rows.sum(1),
                rows.square().sum(1),
            ]
            self._sums = self._sums + torch.stack(sums)
            own.copy_(winners)

    def tally(self) -> Tally:
        """What they came to, once all have passed."""
        voxels, inside, total, squares = self._sums[:, 1:].numpy()
        agreement = None if self.agreement is None else self.agreement.dice()
        return Tally(self._classes.numpy(), voxels, inside, total, np.maximum(total - squares, 0), agreement)


def stray_shares(classes: NDArray[np.uint8], labels: int) -> NDArray[np.float64]:
    """Share of each label's voxels outside its largest connected part (L,); 0 of one that is not there."""
    boxes = ndimage.find_objects(classes, labels)
    shares = np.zeros(labels)
    for label, box in enumerate(boxes):
        if box is not None:
            numbers, _ = ndimage.label(classes[box] == label + 1, NEIGHBOURS)
            sizes = np.bincount(numbers.reshape(-1))[1:]
            shares[label] = 1 - sizes.max() / sizes.sum()
    return shares
