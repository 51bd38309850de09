"""Fitting preprocessing on the training cases: target spacing and intensity statistics.

The rules are those of nnU-Net (Isensee et al., Nature Methods 2021, supplementary note 2).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.config.preprocessing import PreprocessingConfig
from pipeline.errors import ConfigError, DatasetError
from pipeline.preprocessing.fitted import ClipNormalisation, FittedPreprocessing, Normalisation, ScanNormalisation
from pipeline.preprocessing.prepare import nonzero_box
from pipeline.preprocessing.ranges import Measured, measure
from pipeline.scan import Scan, Unit

FOREGROUND_SAMPLES = 10_000
CLEARLY_COARSER = 1.1
FOOT_HEAD = 2
CROP_SHARE = 0.75
"""Where cropping leaves less than this share of the volume, zeros are background, and statistics leave them out."""


@dataclass(frozen=True)
class Fingerprint:
    """What fitting needs of one training case.

    Attributes:
        spacing_mm: in RAS order.
        shape: spatial shape in RAS order after cropping.
        cropped_share: share of the voxels that the nonzero box holds.
        foreground: (C, at most FOREGROUND_SAMPLES) intensities inside the labels.
        measured: for the ranges of the training cases.
        unit: as in `Scan`.
    """

    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]
    cropped_share: float
    foreground: NDArray[np.float32]
    measured: Measured
    unit: Unit = "mm"


def fingerprint(scan: Scan, labels: NDArray[np.unsignedinteger]) -> Fingerprint:
    """Measure one case; ``labels`` (I, J, K) is its mask on the same grid.

    The foreground is sampled at even steps, not at random, so that it depends on the case alone.
    """
    reorientation = geometry.to_ras(scan.affine)
    box = nonzero_box(reorientation.apply(scan.array))
    shape = tuple(high - low for low, high in box)
    inside = scan.array[:, labels > 0]
    step = max(1, -(-inside.shape[1] // FOREGROUND_SAMPLES))  # rounded up
    return Fingerprint(
        spacing_mm=geometry.ras_spacing_mm(scan.affine),
        shape=shape,
        cropped_share=float(np.prod(shape)) / float(np.prod(scan.shape)),
        foreground=inside[:, ::step].astype(np.float32),
        measured=measure(scan, labels),
        unit=scan.unit,
    )


def fit(
    fingerprints: Iterable[Fingerprint],
    modalities: tuple[str, ...],
    config: PreprocessingConfig,
    *,
    dimensions: Literal[2, 3] = 3,
) -> FittedPreprocessing:
    """Choose spacing and normalisation for all cases from the fingerprints of the training cases.

    Args:
        fingerprints: of the training cases.
        modalities: one name a channel.
        config: what is to be chosen, and how.
        dimensions: of the network; for 2, scans are stacks of slices.

    Raises:
        ConfigError: CT intensities are to be fitted, and no case has a foreground to fit them on.
        DatasetError: some cases have a spacing and others are pictures without one.
    """
    cases = list(fingerprints)
    cropped = config.crop == "nonzero" and float(np.median([case.cropped_share for case in cases])) < CROP_SHARE
    return FittedPreprocessing(
        spacing_mm=_spacing([case.spacing_mm for case in cases], [case.shape for case in cases], config),
        unit=_unit(cases),
        crop=config.crop,
        channels=tuple(
            _normalisation(config.intensity, modality, [case.foreground[channel] for case in cases], cropped=cropped)
            for channel, modality in enumerate(modalities)
        ),
        resampling_order=config.resampling_order,
        anisotropy_ratio=config.anisotropy_ratio,
        slice_axis=_slice_axis(cases, config) if dimensions == 2 else None,
    )


def target_spacing_mm(
    spacings_mm: list[tuple[float, ...]], shapes: list[tuple[int, ...]], ratio: float
) -> tuple[float, float, float]:
    """The median spacing; along an axis that is much coarser than the others, the 10th percentile.

    An axis counts as much coarser where its median spacing is more than ``ratio`` times, and its median number of
    voxels less than 1/``ratio`` of, that of either other axis. The percentile keeps the detail of the finer scans, but
    never goes below the other axes' spacing.
    """
    target, shape = np.median(spacings_mm, axis=0), np.median(shapes, axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    if target[worst] > ratio * target[others].max() and shape[worst] * ratio < shape[others].min():
        target[worst] = max(np.percentile([mm[worst] for mm in spacings_mm], 10), target[others].max() + 1e-5)
    return float(target[0]), float(target[1]), float(target[2])


def coarsest_axis(spacings_mm: list[tuple[float, ...]]) -> int:
    """The axis whose median spacing is the largest by a tenth or more; foot-head where there is none."""
    median = np.median(spacings_mm, axis=0)
    *_, second, largest = sorted(median)
    return int(np.argmax(median)) if largest >= CLEARLY_COARSER * second else FOOT_HEAD


def _slice_axis(cases: list[Fingerprint], config: PreprocessingConfig) -> int:
    if config.slice_axis != "auto":
        return config.slice_axis
    return coarsest_axis([case.spacing_mm for case in cases])


def _unit(cases: list[Fingerprint]) -> Unit:
    pictures = sum(case.unit == "px" for case in cases)
    if 0 < pictures < len(cases):
        found = f"{pictures} of {len(cases)} without (PNG, TIFF, JPEG ...)"
        raise DatasetError("training cases that all have a spacing, or none", found, "Train on one kind alone.")
    return "px" if pictures else "mm"


def _spacing(
    spacings_mm: list[tuple[float, ...]], shapes: list[tuple[int, ...]], config: PreprocessingConfig
) -> tuple[float, float, float] | None:
    if config.spacing_mm == "native":
        return None
    if config.spacing_mm == "auto":
        return target_spacing_mm(spacings_mm, shapes, config.anisotropy_ratio)
    return config.spacing_mm


def _normalisation(
    intensity: str, modality: str, foreground: list[NDArray[np.float32]], *, cropped: bool
) -> Normalisation:
    if intensity == "ct" or (intensity == "auto" and modality.upper() == "CT"):
        values = np.concatenate(foreground).astype(np.float64)
        if not values.size:
            raise ConfigError(
                "a structure in the mask of some training case, to fit CT intensities on its voxels",
                f"none in any of {len(foreground)}",
                "Look at the masks and the split, or set preprocessing.intensity=zscore.",
            )
        low, high = np.percentile(values, [0.5, 99.5])
        return ClipNormalisation(low=low, high=high, mean=values.mean(), std=max(values.std(), 1e-8))
    return ScanNormalisation(nonzero_only=cropped)
