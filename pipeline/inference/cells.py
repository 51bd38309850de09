"""Weighted sums of windows, in the cells between their corners, of which few are held at once. Tensors are C D H W.

Windows go through an image row by row and layer by layer; what they leave behind for later ones is as deep as
neighbours overlap, of all classes. Of 100 classes and 512 x 512 voxels that is 5 GB in 32 bits. Where it is that large,
cells that wait are held in 8 bits, as the means that they are so far: of each class of a cell, 255 steps between its
smallest and its largest value. So a mean is wrong by no more than 1/510 of the range of its class in the cell each
time that it is put away, up to seven times where windows overlap by half, and a class that is nowhere in a cell takes
nothing.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.inference.windows import Place, WindowGrid, is_large, most_held

STEPS = 255
NOTHING = 2.0**-16
"""A class whose mean is below that in all of a cell is not there."""


@dataclass(eq=False)
class Sums:
    """Of the part of a cell, at its beginning, that windows have touched.

    Attributes:
        total: weighted sum of windows (classes, D, H, W).
        mass: sum of weights (D, H, W); 0 where no window was yet.
    """

    total: Tensor
    mass: Tensor

    def add(self, weighted: Tensor, weights: Tensor) -> None:
        """Add what a window has of the cell, which is weighted already; the part grows to hold it."""
        sizes = zip(self.mass.shape, weights.shape, strict=True)
        missing = [max(0, n - m) for m, n in sizes]
        if any(missing):
            widths = [width for n in reversed(missing) for width in (0, n)]
            self.total, self.mass = functional.pad(self.total, widths), functional.pad(self.mass, widths)
        place = tuple(slice(n) for n in weights.shape)
        self.total[(slice(None), *place)] += weighted
        self.mass[place] += weights

    def mean(self) -> Tensor:
        """In the place of the total; 0 where no window was."""
        return self.total.div_(self.mass.clamp_min(torch.finfo(torch.float32).tiny))


@dataclass(frozen=True, eq=False)
class Waiting:
    """The same, put away.

    Attributes:
        steps: the mean (present classes, D, H, W) in steps from the smallest value, 8 bits.
        smallest: of each present class.
        step: of each present class.
        classes: numbers of those present.
        count: of all classes.
        mass: as it was.
    """

    steps: Tensor
    smallest: Tensor
    step: Tensor
    classes: Tensor
    count: int
    mass: Tensor

    @classmethod
    def of(cls, sums: Sums) -> Self:
        """Put away sums, which are used up."""
        mean = sums.mean()
        flat = mean.flatten(1)
        smallest, largest = flat.amin(1), flat.amax(1)
        is_nothing = torch.maximum(largest, -smallest) <= NOTHING  # nor is one that is not a number
        classes = (~is_nothing).nonzero().flatten()
        smallest, largest = smallest[classes], largest[classes]
        step = ((largest - smallest) / STEPS).clamp_min(torch.finfo(torch.float32).tiny)
        present = mean if len(classes) == len(mean) else mean[classes]
        present.sub_(_column(smallest, present)).div_(_column(step, present)).round_()
        return cls(present.to(torch.uint8), smallest, step, classes, len(mean), sums.mass)

    def sums(self) -> Sums:
        """What it was made of."""
        total = torch.zeros(self.count, *self.mass.shape)
        mean = self.steps.float()
        total[self.classes] = mean.mul_(_column(self.step, mean)).add_(_column(self.smallest, mean))
        return Sums(total.mul_(self.mass), self.mass)


class Cells:
    """The cells that windows have touched and that are not complete.

    Args:
        grid: of the windows.
        weights: of the voxels of each.
    """

    def __init__(self, grid: WindowGrid, weights: Tensor) -> None:
        self._grid, self._weights = grid, weights
        self._cells: dict[Place, Sums | Waiting] = {}
        self._voxels = most_held(grid).total

    def add(self, place: Place, scores: Tensor) -> None:
        """Add the scores of a window (classes, *patch), which are used up; cells may be put away."""
        weighted, is_many = scores.mul_(self._weights), is_large(len(scores), self._voxels)
        for cell, part in self._grid.touched(place):
            sums = self._added(cell, weighted[(slice(None), *part.in_window)], self._weights[part.in_window])
            self._cells[cell] = Waiting.of(sums) if is_many and cell != place else sums

    def take(self, place: Place) -> Tensor:
        """Means of a cell that is complete."""
        done = self._cells.pop(place)
        return (done if isinstance(done, Sums) else done.sums()).mean()

    def _added(self, cell: Place, weighted: Tensor, weights: Tensor) -> Sums:
        found = self._cells.pop(cell, None)
        if found is None:
            return Sums(weighted.clone(), weights.clone())
        sums = found if isinstance(found, Sums) else found.sums()
        sums.add(weighted, weights)
        return sums


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Of each class, for all voxels of a tensor (classes, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))
