"""The one type that every reader returns and everything after reading works on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry

Unit = geometry.Unit
UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True)
class ScanHeader:
    """What a file says before any voxel is read.

    Attributes:
        shape: (I, J, K) in voxels.
        channels: images on the grid.
        affine: voxel index -> RAS, in ``unit``.
        unit: as in `Scan`.
        repairs: as in `Scan`.
    """

    shape: tuple[int, ...]
    channels: int
    affine: geometry.Affine
    unit: Unit = "mm"
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scan:
    """An image and where its voxels lie in the patient.

    Attributes:
        array: the values, shape (C, I, J, K) for a volume; the dtype is the one that holds them without loss.
        affine: 4x4, voxel index -> RAS, in ``unit``.
        source: the file that it was read from.
        unit: "mm"; or "px" for pictures such as PNG and TIFF, whose pixels have no known size. Their spacing is 1
            along each axis and means nothing: no length, area or volume follows from it.
        format: name of the format that the source was read as, after which a mask's is chosen; may be empty.
        header: what a mask in that format takes over from the source besides its grid, without any text; only the
            format's own module understands it, and most need none.
        repairs: what reading had to mend of the geometry, or to choose in doubt, in our words and never in the file's;
            none where the file says it all.
    """

    array: NDArray
    affine: geometry.Affine
    source: Path
    unit: Unit = "mm"
    format: str = ""
    header: bytes = b""
    repairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.array.ndim == 4, self.array.shape
        assert self.affine.shape == (4, 4), self.affine.shape
        self.array.flags.writeable = False
        self.affine.flags.writeable = False

    @property
    def channels(self) -> int:
        """How many images share the grid."""
        return self.array.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape (I, J, K) in voxels."""
        return self.array.shape[1:]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along I, J, K; 1 and without a meaning where the unit is px."""
        return geometry.voxel_spacing_mm(self.affine)

    def content_hash(self) -> str:
        """SHA-256 of the values in RAS order.

        The same for a scan that was renamed, compressed anew, or stored in another axis order or number type; so two
        files with one content are found wherever they lie.
        """
        upright = geometry.to_ras(self.affine).apply(self.array)
        digest = hashlib.sha256(str(upright.shape).encode())
        with np.errstate(over="ignore"):  # beyond 3e38 a value counts as infinite
            values = np.ascontiguousarray(upright, dtype="<f4")
        digest.update((values + np.float32(0)).data)  # adding 0 makes -0 and 0 one number
        return digest.hexdigest()
