"""How a scan becomes the array that the network sees."""

from typing import Literal

from pydantic import Field

from pipeline.config.base import Positive, Section

Outside = Literal["ignored", "background"]


class BorderConfig(Section):
    """The pixel weights of the U-Net paper: what lies between two structures that touch counts for more in training."""

    weight: float = Field(0.0, ge=0)
    """What such a place is given at most beside its class's weight; 10 in the paper. Above 0, background and structures
    weigh the same in total (in each slice of a stack), and 1 at the mean; 0 weighs all voxels alike."""
    sigma_voxels: Positive = 5.0
    """How fast it falls with the distance to the two nearest parts of structures, in voxels along each axis."""


class PreprocessingConfig(Section):
    """What is fitted on the training cases; the fitted values are saved in the model."""

    crop: Literal["nonzero", "none"] = "nonzero"
    """Cut away the margin where every channel is zero."""
    spacing_mm: tuple[Positive, Positive, Positive] | Literal["auto", "native"] = "auto"
    """Target distance between voxels in RAS order. Auto: the median of the training cases, and the 10th percentile
    along an axis that is much coarser than the others. Native: no resampling."""
    slice_axis: Literal["auto", 0, 1, 2] = "auto"
    """For networks of images (network.dimensions=2): the axis across which a volume is a stack of slices; 0 is
    left-right, 1 back-front, 2 foot-head. Auto: the one along which the training cases are coarsest, else 2. It is not
    resampled."""
    intensity: Literal["auto", "ct", "zscore"] = "auto"
    """ct: clip to the 0.5 and 99.5 percentile of the foreground and normalise with its mean and deviation, the same
    for all scans. zscore: each scan with its own mean and deviation. Auto: by the channel's modality."""
    resampling_order: Literal[0, 1, 3] = 3
    """Order of the splines that resample images (in the plane, for anisotropic scans)."""
    outside: Outside = "ignored"
    """What training makes of voxels outside a field of view. ignored: they count in no loss, so that what a model marks
    there means nothing. background: they are trained as such, and masks are empty there. No metric counts them."""
    border: BorderConfig = BorderConfig()
    """Weights of pixels in training."""
    anisotropy_ratio: Positive = 3.0
    """A scan whose coarsest spacing is more than this many times its finest one is resampled in the plane first, and by
    the nearest slice across planes."""
