"""What preprocessing learnt from the training cases; saved in the model, so that inference cannot differ from it."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Positive, Section


class ClipNormalisation(Section):
    """Clip to fixed bounds, subtract a fixed mean, divide by a fixed deviation: for CT, whose scale is absolute."""

    kind: Literal["clip"] = "clip"
    low: float
    """0.5 percentile of the foreground of the training cases."""
    high: float
    """99.5 percentile."""
    mean: float
    """Mean of the foreground."""
    std: Positive
    """Standard deviation of the foreground."""


class ScanNormalisation(Section):
    """Subtract the scan's own mean and divide by its own deviation: for MR and others without an absolute scale."""

    kind: Literal["zscore"] = "zscore"
    nonzero_only: bool = False
    """Take mean and deviation over the voxels that are not zero, and leave the others at zero: for scans whose
    background was set to zero (skull-stripped)."""


Normalisation = Annotated[ClipNormalisation | ScanNormalisation, Field(discriminator="kind")]


class FittedPreprocessing(Section):
    """Everything that `prepare` and `restore` need."""

    spacing_mm: tuple[Positive, Positive, Positive] | None
    """Target distance between voxels in RAS order; None keeps each scan's own."""
    unit: Literal["mm", "px"] = "mm"
    """What the training cases' spacing is in: px where they are pictures, whose scale is unknown."""
    crop: Literal["nonzero", "none"]
    """Whether the margin where every channel is zero is cut away."""
    channels: tuple[Normalisation, ...]
    """How each channel is normalised."""
    resampling_order: Literal[0, 1, 3]
    """Order of the splines that resample images."""
    slice_axis: Literal[0, 1, 2] | None = None
    """For networks of images: the axis, in RAS order, across which a scan is a stack of slices. It comes last in
    prepared arrays, and is not resampled."""
    anisotropy_ratio: Positive
    """Ratio of spacings above which the coarsest axis is resampled apart."""

    def prepared_axes(self, ras_axes: Iterable[int]) -> tuple[int, ...]:
        """Where axes in RAS order lie in what is prepared; of slices, the axis across them is left out.

        Example: across left and right, slices have back-front (1) as their axis 0, and foot-head (2) as their axis 1.
        """
        kept = [axis for axis in range(3) if axis != self.slice_axis]
        return tuple(kept.index(axis) for axis in ras_axes if axis in kept)

    @property
    def prepared_spacing_mm(self) -> tuple[float, ...]:
        """The target along the axes of prepared arrays; 1 where each scan keeps its own."""
        target = self.spacing_mm or (1.0, 1.0, 1.0)
        if self.slice_axis is None:
            return target
        return (*(mm for axis, mm in enumerate(target) if axis != self.slice_axis), target[self.slice_axis])
