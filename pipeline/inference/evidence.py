"""What speaks for and against a mask, gathered while it is made. Tensors are C D H W, or B C D H W of windows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from pipeline.structures import NEIGHBOURS


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
            votes = self._votes[0].flatten(1).double()
            self._common += (votes * (votes - 1)).sum(1).cpu().numpy()
            self._voted += votes.sum(1).cpu().numpy()
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
        axis: along which slabs follow each other.
        agreement: of mirrored predictions, or None.
    """

    def __init__(self, axis: int, agreement: Agreement | None = None) -> None:
        self.agreement = agreement
        self._axis = axis
        self._classes: list[NDArray[np.uint8]] = []
        self._sums = torch.zeros(())

    def passing(self, slabs: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same slabs of probabilities (C, ...), each of them counted."""
        for slab in slabs:
            self.count(slab)
            yield slab

    def count(self, slab: Tensor) -> None:
        """Count the next slab."""
        highest, winners = slab.max(0)
        flat, rows = winners.flatten(), slab.flatten(1)
        sums = [
            torch.bincount(flat, minlength=len(slab)).double(),
            torch.bincount(flat, weights=highest.flatten().double(), minlength=len(slab)),
            rows.sum(1, dtype=torch.float64),
            torch.linalg.vecdot(rows, rows).double(),
        ]
        self._sums = self._sums + torch.stack(sums)
        self._classes.append(winners.to(torch.uint8).numpy())

    def tally(self) -> Tally:
        """What they came to, once all have passed."""
        voxels, inside, total, squares = self._sums[:, 1:].numpy()
        agreement = None if self.agreement is None else self.agreement.dice()
        classes = np.concatenate(self._classes, axis=self._axis)
        return Tally(classes, voxels, inside, total, np.maximum(total - squares, 0), agreement)


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
