"""Random changes to training patches; none of them is used outside training."""

from pydantic import Field

from pipeline.config.base import PositiveRange, Probability, QualityRange, Range, Section
from pipeline.errors import ConfigError

COLOURS = 3
"""Channels of an image in colour."""
IMAGES_ALONE = ("grid_distortion", "colour", "compression")
"""Probabilities of the transforms that volumes do not have."""


class AugmentationConfig(Section):
    """Probabilities are per patch; a probability of 0 switches a transform off. For images a voxel is a pixel."""

    rotation: Probability = 0.2
    """Rotate about each axis."""
    rotation_degrees: tuple[float, float, float] = (30.0, 30.0, 30.0)
    """Largest angle about each axis, either way. Images turn in their plane, by the third."""
    scaling: Probability = 0.2
    """Enlarge or shrink."""
    scaling_range: PositiveRange = (0.7, 1.4)
    """Factor of the size; below 1 is smaller."""
    elastic: Probability = 0.0
    """Elastic deformation; slow for volumes, and rarely worth it there."""
    elastic_sigma_voxels: PositiveRange = (5.0, 8.0)
    """Smoothness of the deformation."""
    elastic_magnitude_voxels: Range = (50.0, 150.0)
    """Size of the random offsets before they are smoothed."""
    grid_distortion: Probability = 0.0
    """Stretch some rows and columns and squeeze others; images alone."""
    grid_distortion_steps: int = Field(5, ge=1)
    """How many bands of rows, and of columns, are stretched apart from each other."""
    grid_distortion_limit: float = Field(0.3, ge=0, lt=1)
    """Largest change of a band's width, as a share of it."""
    mirror_axes: tuple[int, ...] = (0, 1, 2)
    """Axes (0 left-right, 1 back-front, 2 foot-head) along which patches are flipped, each with probability 1/2; of
    slices, the one across them does nothing. An axis along which a mirrored scan could not be a real one only makes the
    task harder. 0 is refused where labels differ by side, such as left_kidney and right_kidney."""
    sides_by_appearance: bool = False
    """True where left and right structures differ in more than their side, as the ventricles of the heart do; they may
    then be mirrored along axis 0."""
    noise: Probability = 0.1
    """Add Gaussian noise."""
    noise_std: float = Field(0.316, ge=0)
    """Largest standard deviation of the noise, in units of the normalised image."""
    blur: Probability = 0.2
    """Blur with a Gaussian."""
    blur_sigma_voxels: Range = (0.5, 1.0)
    """Range of the Gaussian's width."""
    brightness: Probability = 0.15
    """Multiply the intensities."""
    brightness_range: Range = (0.75, 1.25)
    """Range of the factor."""
    contrast: Probability = 0.15
    """Stretch intensities about their mean, within their range."""
    contrast_range: Range = (0.75, 1.25)
    """Range of the factor."""
    low_resolution: Probability = 0.25
    """Downsample and upsample again."""
    low_resolution_range: PositiveRange = (0.5, 1.0)
    """Range of the zoom."""
    gamma: Probability = 0.3
    """Raise intensities to a power, mean and deviation kept."""
    gamma_range: PositiveRange = (0.7, 1.5)
    """Range of the exponent."""
    gamma_inverted: Probability = 0.1
    """The same on the negated image."""
    colour: Probability = 0.0
    """Change hue and saturation; images of three channels alone, taken as red, green and blue after normalisation."""
    colour_hue_degrees: float = Field(10.0, ge=0, le=180)
    """Largest turn of the circle of hues, either way."""
    colour_saturation_range: Range = (0.75, 1.25)
    """Range of the factor; 0 makes the three channels equal."""
    compression: Probability = 0.0
    """Add the artefacts of JPEG; images alone."""
    compression_quality_range: QualityRange = (50, 95)
    """Range of JPEG's quality."""


def check_channels(channels: int, config: AugmentationConfig) -> None:
    """Refuse to change colours of scans that have none.

    Raises:
        ConfigError: says how many channels there are.
    """
    if config.colour > 0 and channels != COLOURS:
        raise ConfigError(
            "images of three channels (red, green, blue) where augmentation.colour is not 0",
            f"an image of {channels}",
            "Set augmentation.colour=0.",
        )
