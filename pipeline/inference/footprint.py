"""What segmenting a scan takes of the main process's memory, told beforehand from sizes alone."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from pipeline.config.inference import InferenceConfig
from pipeline.errors import TooLargeError
from pipeline.inference.memory import BYTES_PER_GB
from pipeline.inference.windows import KEPT_BYTES, Size, WindowGrid, is_large, most_held, padded_shape
from pipeline.manifest import AutoencoderManifest, Manifest, ModelRecord
from pipeline.preprocessing.prepare import Trail, plan_uncropped
from pipeline.scan import ScanHeader
from pipeline.sizes import as_window

FLOAT_BYTES = 4
FIXED_BYTES = 220_000_000
"""Whatever the sizes: what torch sets up when it first runs, and arrays of a few planes."""
FEATURES_HELD = {"plain": 10, "residual": 11, "inception": 13}
"""By the network's block: how many arrays as large as the first stage's features are held at once, as measured."""
WINDOW_ARRAYS, MIRRORED_ARRAYS = 4, 6
"""Arrays of a window's classes that are held at once; the mean over mirrored windows is two more. Votes on the class of
a voxel, of a model that predicts its Dice, are a byte each, and fit into what is left of these."""
SEEN_VOXELS = 20_000
"""Of a stage of a window, that features are taken from: as `features.MOST_VOXELS`, which comes with torch."""
MASK_BYTES = 3
"""A voxel of the mask: its class number, and its value, which may be of 16 bits."""
COMPONENTS_BYTES = 16
"""A voxel where the largest connected part is looked for: numbers of parts in 4 bytes and in 8, and comparisons."""
OBSERVED_BYTES, STRAY_BYTES = 2, 14
"""A voxel of the prepared grid, of a model that predicts its Dice: its class number twice, while they are put together,
and then numbers of parts in 4 bytes and in 8, and comparisons."""
SPLINE_BYTES, SPLINE_MARGIN = 12, 24
"""A voxel of a channel that is resampled, with the margins that scipy gives each axis: a copy in 4 bytes, and the
coefficients of its splines in 8."""
CELL_COPIES = 2
"""Arrays as large as a cell: the block that is handed out, and a copy of it with the planes in front of it; or what is
needed to put a cell away."""
SEAMS = 2
"""Planes of all classes that are kept where blocks meet, of a scan that is resampled: those before, and those now."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that segmenting takes, in parts.

    Attributes:
        image: a copy of the prepared scan, padded to the patch; 0 where it is as large as that.
        sums: over windows, of the cells that are not complete.
        window: the network at work on a window, the window's probabilities, and what is kept of one of a single value.
        handed_out: blocks that no window touches any more, on their way into the mask.
        mask: on the scan's own grid.
        probabilities: of every voxel on the prepared and on the scan's own grid, where they are asked for.
        observed: what predicted Dice is told from, and the parts that are counted for it.
    """

    image: int
    sums: int
    handed_out: int
    window: int = 0
    mask: int = 0
    probabilities: int = 0
    observed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        streaming = self.sums + self.window + self.handed_out
        return FIXED_BYTES + self.image + streaming + self.mask + self.probabilities + self.observed


def footprint(trail: Trail, manifest: Manifest, config: InferenceConfig) -> Footprint:
    """What segmenting a prepared scan takes, beside the scan and what was prepared of it."""
    classes = len(manifest.labels) + 1
    prepared, own = math.prod(trail.shape), math.prod(trail.full_shape)
    streamed = _streamed(trail, manifest, overlap=config.overlap, maps=classes)
    return replace(
        streamed,
        window=_window_bytes(manifest, classes, MIRRORED_ARRAYS if config.tta else WINDOW_ARRAYS)
        + _kept_bytes(manifest, classes),
        mask=own * (MASK_BYTES + (COMPONENTS_BYTES if config.keep_largest else 0)),
        probabilities=FLOAT_BYTES * (classes * (prepared + own) + own) if config.probability_maps else 0,
        observed=prepared * (OBSERVED_BYTES + STRAY_BYTES) if manifest.estimate_sha256 is not None else 0,
    )


def _streamed(trail: Trail, manifest: ModelRecord, *, overlap: float, maps: int) -> Footprint:
    """Of the sliding window alone, without the network: the image, and so many maps of the cells."""
    grid = WindowGrid(
        padded_shape(trail.shape, as_window(manifest.patch_size)), as_window(manifest.patch_size), overlap
    )
    held = most_held(grid)
    own = FLOAT_BYTES * (maps + 1)  # one more for the weights
    waiting = maps + FLOAT_BYTES if is_large(maps, held.total) else own
    return Footprint(
        image=_padding_bytes(trail.shape, grid.patch_size, len(manifest.preprocessing.channels)),
        sums=waiting * held.total,
        handed_out=FLOAT_BYTES * maps * (CELL_COPIES * held.cell + _seam_voxels(trail, grid)),
    )


def _seam_voxels(trail: Trail, grid: WindowGrid) -> int:
    """Of the planes that blocks leave to later ones; those of the fastest axis are parts of a cell."""
    if trail.shape == trail.box_shape:
        return 0
    _, *faster = (trail.shape[axis] for axis in grid.order)
    layer = max(b - a for a, b in pairwise(grid.corners[grid.order[0]]))
    return SEAMS * (math.prod(faster) + layer * faster[-1])


def restoring_bytes(trail: Trail, manifest: AutoencoderManifest, config: InferenceConfig) -> int:
    """What restoring a prepared scan takes, beside the scan and what was prepared of it.

    First it is the network and the image that it makes, then that image, what it changed, and the change on the grid
    where it is wanted.
    """
    channels, prepared, box = len(manifest.preprocessing.channels), math.prod(trail.shape), math.prod(trail.box_shape)
    window = _window_bytes(manifest, channels, WINDOW_ARRAYS)
    streamed = replace(_streamed(trail, manifest, overlap=config.overlap, maps=channels), window=window)
    made = FLOAT_BYTES * channels * prepared
    if manifest.autoencoder.corruption.lowers_resolution:
        placed = FLOAT_BYTES * channels * (4 * prepared + box)
    else:
        placed = FLOAT_BYTES * channels * (prepared + 2 * box + math.prod(trail.full_shape))
    source = trail.box_shape if manifest.autoencoder.corruption.lowers_resolution else trail.shape
    resampled = 0 if trail.shape == trail.box_shape else _resampling_bytes(source)
    return made + max(streamed.total, FIXED_BYTES + placed + resampled)


def _resampling_bytes(shape: Size) -> int:
    """Of a channel of that shape, on its way to another one."""
    return FLOAT_BYTES * math.prod(shape) + SPLINE_BYTES * math.prod(n + SPLINE_MARGIN for n in shape)


def needed_bytes(trail: Trail, manifest: Manifest, config: InferenceConfig) -> int:
    """The sum of a `footprint`."""
    return footprint(trail, manifest, config).total


def estimate_gb(header: ScanHeader, manifest: Manifest) -> float:
    """What predicting a scan takes in the main process, of which only the header is known.

    The scan itself and what is prepared of it count as well, as if each voxel had 4 bytes and no margin were cut away;
    what the process holds before, and scans that are read ahead, do not. Settings are those of the manifest.

    Args:
        header: of the scan.
        manifest: of the model.

    Returns:
        GB.
    """
    trail = plan_uncropped(header, manifest.preprocessing)
    held = FLOAT_BYTES * header.channels * (math.prod(header.shape) + math.prod(trail.shape))
    return (held + needed_bytes(trail, manifest, manifest.inference)) / BYTES_PER_GB


def check_fits(trail: Trail, manifest: Manifest, config: InferenceConfig, *, free_bytes: int | None) -> None:
    """Refuse a prepared scan before its segmentation would take more memory than there is.

    Args:
        trail: of the prepared scan.
        manifest: of the model.
        config: how it is run.
        free_bytes: what may still be taken; None where that is not known, and nothing is refused.

    Raises:
        TooLargeError: it would take more.
    """
    needed = footprint(trail, manifest, config)
    if free_bytes is None or needed.total <= free_bytes:
        return
    remedies = []
    if needed.probabilities:
        without_gb = (needed.total - needed.probabilities) / BYTES_PER_GB
        remedies.append(f"Without inference.probability_maps it needs about {without_gb:.1f} GB.")
    raise _too_large(needed.total, free_bytes, remedies, readers=config.readers)


def check_restoring_fits(
    trail: Trail, manifest: AutoencoderManifest, config: InferenceConfig, *, free_bytes: int | None
) -> None:
    """Refuse a prepared scan before restoring it would take more memory than there is; as `check_fits`."""
    needed = restoring_bytes(trail, manifest, config)
    if free_bytes is not None and needed > free_bytes:
        raise _too_large(needed, free_bytes, [], readers=config.readers)


def _too_large(needed: int, free_bytes: int, remedies: list[str], *, readers: int) -> TooLargeError:
    fewer = [f"Fewer inference.readers than {readers} leave more."] if readers > 1 else []
    return TooLargeError(
        "a scan that fits into memory",
        f"one that needs about {needed / BYTES_PER_GB:.1f} GB, where {free_bytes / BYTES_PER_GB:.1f} GB are free",
        " ".join(["Take a machine with more memory, or crop the scan.", *remedies, *fewer]),
    )


def _padding_bytes(shape: Size, window: Size, channels: int) -> int:
    padded = padded_shape(shape, window)
    return 0 if padded == shape else FLOAT_BYTES * channels * math.prod(padded)


def _kept_bytes(manifest: Manifest, classes: int) -> int:
    """Of a window of one value (`backends.background`), at most; nothing where the logits alone are too many."""
    voxels = math.prod(manifest.patch_size)
    logits, features = classes * voxels, sum(manifest.network.features) * min(SEEN_VOXELS, voxels)
    return min(KEPT_BYTES, FLOAT_BYTES * (logits + features)) if FLOAT_BYTES * logits <= KEPT_BYTES else 0


def _window_bytes(manifest: ModelRecord, maps: int, arrays: int) -> int:
    """Of the network, whose first stage is by far the largest, or of what follows it: so many arrays of all maps."""
    network, voxels = manifest.network, math.prod(manifest.patch_size)
    features = network.features[0] * voxels // math.prod(network.stage_strides()[0])
    return FLOAT_BYTES * max(FEATURES_HELD[network.block] * features, arrays * maps * voxels)
