"""A small variational autoencoder that knows the shapes of training masks, and how far a new mask is one of these.

It sees masks on a coarse grid that the structures fill, so that neither their place nor their size matters: a channel a
label, with the share of each grid cell that the label covers. Tensors are N L I J K, or N L I J of slices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.inference.coarse import GRIDS, evenly_spread, trained_autoencoder
from pipeline.networks.autoencoder import Autoencoder
from pipeline.preprocessing.prepare import nonzero_box
from pipeline.threads import one_thread

KIND = "variational"
COVERED = 0.5
"""Share of a cell from which on it counts as the label's."""


def shape_views(classes: NDArray[np.uint8], labels: int, *, spacing: tuple[float, ...], dimensions: int) -> Tensor:
    """A mask on the coarse grid: one view, or one for each of some `evenly_spread` slices that hold something.

    Args:
        classes: class numbers (I, J, K); others than the labels' count as background.
        labels: how many there are.
        spacing: of the voxels.
        dimensions: of the network, 2 or 3.

    Returns:
        (N, L, 32, 32, 32) or (N, L, 64, 64), values from 0 to 1; N may be 0 of slices.
    """
    grid, inside = GRIDS[dimensions], (classes > 0) & (classes <= labels)
    if not inside.any():
        return torch.zeros((1 if dimensions == 3 else 0, labels, *grid))
    box = tuple(slice(first, last) for first, last in nonzero_box(inside[None]))
    extent = [(each.stop - each.start) * mm for each, mm in zip(box, spacing, strict=True)][:dimensions]
    fitted = [max(1, round(n * size / max(extent))) for n, size in zip(grid, extent, strict=True)]
    own = torch.from_numpy(classes[box])[None, None]
    if dimensions == 2:
        filled = np.flatnonzero(inside[box].any(axis=(0, 1)))
        own = own[..., filled[evenly_spread(len(filled))]][0].permute(3, 0, 1, 2)
    each = [functional.interpolate((own == label + 1).float(), fitted, mode="area") for label in range(labels)]
    small = torch.cat(each, dim=1)
    margins = [(n - size) // 2 for n, size in zip(grid, fitted, strict=True)]
    widths = [(first, n - size - first) for n, size, first in zip(grid, fitted, margins, strict=True)]
    return functional.pad(small, [width for pair in reversed(widths) for width in pair])


@dataclass(frozen=True, eq=False)
class Shapes:
    """The shapes of training masks.

    Attributes:
        network: trained, in evaluation mode.
        labels: how many there are.
        dimensions: of what it sees.
    """

    network: Autoencoder
    labels: int
    dimensions: int

    def dice(self, classes: NDArray[np.uint8], spacing: tuple[float, ...]) -> NDArray[np.float64]:
        """Dice of each label of a mask with what the network makes of it (L,), on the coarse grid.

        Args:
            classes: class numbers (I, J, K), on the prepared grid.
            spacing: of the voxels.

        Returns:
            (L,), 1 of a label in neither.
        """
        views = shape_views(classes, self.labels, spacing=spacing, dimensions=self.dimensions)
        if not len(views):
            return np.ones(self.labels)
        with torch.inference_mode(), one_thread():
            made = self.network(views).output >= COVERED
        own = views >= COVERED
        axes = [axis for axis in range(views.ndim) if axis != 1]
        common, both = (each.double().numpy() for each in ((own & made).sum(axes), own.sum(axes) + made.sum(axes)))
        return np.divide(2 * common, both, out=np.ones_like(common), where=both > 0)

    def to_arrays(self) -> dict[str, NDArray]:
        """The weights by name."""
        return {name: tensor.contiguous().numpy() for name, tensor in self.network.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray], *, labels: int, dimensions: int) -> Self:
        """What `to_arrays` gave.

        Raises:
            ModelError: weights are missing, or of another shape.
        """
        network = trained_autoencoder(KIND, arrays, channels=labels, dimensions=dimensions, what="shapes")
        return cls(network, labels, dimensions)
