"""What several tests need: volumes on disk, and real data where there is some."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import ArrayLike

RealData = Callable[[str], Path]
WriteVolume = Callable[..., Path]


@pytest.fixture
def real_data() -> RealData:
    """The path of a real data set by its name; a test whose data is missing is skipped, and says so."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("MEDSEG_TEST_DATA", default))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"no real data at {root / name}; MEDSEG_TEST_DATA names the folder")
        return root / name

    return find


@pytest.fixture
def write_volume() -> WriteVolume:
    """Writes a NIfTI file of an array (I, J, K) or (I, J, K, C) with square voxels, and returns its path."""

    def write(path: Path, array: ArrayLike, spacing_mm: float = 1.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(np.asarray(array), np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]))
        image.to_filename(path)
        return path

    return write
