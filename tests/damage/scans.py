"""Scans for the tests of damages."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.scan import Scan

LARGEST = float(np.finfo(np.float32).max)


def scan_of(array: NDArray) -> Scan:
    """A scan (C, I, J, K) with a spacing of 0.5, 1 and 2 mm."""
    return Scan(array.copy(), np.diag([0.5, 1.0, 2.0, 1.0]), Path("scan.nii.gz"), format="nifti", repairs=("a",))


def smooth(shape: tuple[int, ...] = (1, 24, 22, 20)) -> Scan:
    """Blobs of 0 to 1000, about as wide as structures are."""
    blobs = np.stack([ndimage.gaussian_filter(channel, 2) for channel in np.random.default_rng(0).random(shape)])
    low, high = blobs.min(), blobs.max()
    return scan_of(((blobs - low) / max(high - low, 1e-9) * 1000).astype(np.float32))
