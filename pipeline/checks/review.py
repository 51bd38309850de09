"""Why a person should look at a mask: what the mask, the scan and the training cases say against it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline import geometry
from pipeline.manifest import Manifest
from pipeline.preprocessing.ranges import LabelRange, Range, TrainingRanges, percentiles_of
from pipeline.scan import Scan

SIZE_FACTOR = 1.5
"""How far beyond the smallest and the largest of the training cases a size may lie: they are a sample, no limit."""
SPACING_FACTOR = 2.0
"""The same of a spacing: twice as coarse, or as fine, the network sees other things than it has learnt."""
RARE, COMMON = 0.1, 0.95
"""Below and above these shares of the training cases, something did not, or did, belong to them."""
INTENSITY_SHARE = 0.25
"""Of the span of the training cases' intensities, so much a percentile may lie beyond theirs."""
NEGATIVE_SHARE = 0.05
"""Of a scan's span, so much has to lie below 0 before it counts as negative: resampling leaves a little."""
CONSTANT = "all voxels of"
"""What a reason begins with that makes all others idle: there is nothing in the scan."""
AXES = ("left-right", "back-front", "foot-head")
PERCENTILE_NAMES = ("0.5 percentile", "median", "99.5 percentile")


def review_reasons(statistics: Mapping[str, Mapping[str, Any]], scan: Scan, manifest: Manifest) -> list[str]:
    """Why a predicted mask should be looked at; empty where nothing speaks against it.

    Args:
        statistics: of its structures, as `describe_structures` gives them.
        scan: what it was made of.
        manifest: the model; without the ranges of its training cases, only what needs none is looked at.
    """
    return [
        *_mask_reasons(statistics, manifest.ranges),
        *repair_reasons(scan.repairs, manifest),
        *intensity_reasons(scan, manifest),
        *spacing_reasons(scan, manifest),
    ]


def repair_reasons(repairs: Sequence[str], manifest: Manifest) -> list[str]:
    """Whether what reading a scan, or its header alone, had to repair was rare among the training cases."""
    is_usual = manifest.ranges is not None and manifest.ranges.repaired_share >= RARE
    return [f"geometry repaired: {'; '.join(repairs)}"] if repairs and not is_usual else []


def intensity_reasons(scan: Scan, manifest: Manifest) -> list[str]:
    """What of a scan's intensities speaks against a mask of it; channels that hold nothing begin with `CONSTANT`."""
    if scan.channels != len(manifest.modalities):
        return []  # the model cannot be run on it, which is said elsewhere
    unlike = [] if manifest.ranges is None else _unlike_training(scan, manifest, manifest.ranges)
    return [*_constant(scan, manifest), *unlike]


def _constant(scan: Scan, manifest: Manifest) -> list[str]:
    names = manifest.modalities if scan.channels > 1 else ["the scan"]
    channels = zip(names, scan.array, strict=False)
    return [f"{CONSTANT} {name} have the value {c.flat[0]:g}" for name, c in channels if c.min() == c.max()]


def spacing_reasons(grid: geometry.Grid, manifest: Manifest) -> list[str]:
    """Whether a scan, or its header alone, has a spacing far from those of the training cases."""
    if manifest.ranges is None or grid.unit == "px":
        return []
    own = geometry.ras_spacing_mm(grid.affine)
    return [
        f"spacing {name}: {mm:.3g} mm, where training had {_range(known)} mm"
        for name, mm, known in zip(AXES, own, manifest.ranges.spacing_mm, strict=True)
        if not known[0] / SPACING_FACTOR <= mm <= known[1] * SPACING_FACTOR
    ]


def _mask_reasons(statistics: Mapping[str, Mapping[str, Any]], ranges: TrainingRanges | None) -> Iterator[str]:
    if not any(values["voxels"] for values in statistics.values()):
        yield "the mask is empty"
        return
    for name, values in statistics.items():
        known = ranges.labels.get(name) if ranges is not None else None
        if values["voxels"]:
            yield from (f"{name}: {reason}" for reason in _structure_reasons(values, known))
        elif known is not None and known.absent_share <= 1 - COMMON:
            yield f"{name}: not found"


def _structure_reasons(values: Mapping[str, Any], known: LabelRange | None) -> Iterator[str]:
    if values["touches_border"] and (known is None or known.border_share < RARE):
        yield "touches the border of the scan, where it may be cut off"
    if known is None:
        return
    size, unit = (values["voxels"], "px") if values["volume_ml"] is None else (values["volume_ml"], "ml")
    if known.size is None:
        yield "found, though no training case had it"
    elif not known.size[0] / SIZE_FACTOR <= size <= known.size[1] * SIZE_FACTOR:
        yield f"{size:.3g} {unit}, where training had {_range(known.size)} {unit}"
    if known.size is not None and values["parts"] > known.parts:
        yield f"in {values['parts']} parts, where training had {known.parts} at most"


def _unlike_training(scan: Scan, manifest: Manifest, ranges: TrainingRanges) -> Iterator[str]:
    for index, found in enumerate(percentiles_of(scan.array)):
        name = f"{manifest.modalities[index]}: " if scan.channels > 1 else ""
        known = ranges.intensities[index]
        if manifest.preprocessing.channels[index].kind == "clip":
            yield from (f"{name}{reason}" for reason in _far_intensities(found.tolist(), known))
        elif known[0][0] >= 0 and found[0] < -NEGATIVE_SHARE * (found[2] - found[0]):
            yield f"{name}intensities down to {found[0]:.4g}, where training had none below 0"


def _far_intensities(found: Sequence[float], known: Sequence[Range]) -> Iterator[str]:
    """Of intensities on an absolute scale."""
    margin = INTENSITY_SHARE * (known[2][1] - known[0][0])
    for name, value, (low, high) in zip(PERCENTILE_NAMES, found, known, strict=True):
        if not low - margin <= value <= high + margin:
            yield f"intensities: {name} {value:.4g}, where training had {_range((low, high), 4)}"


def _range(known: Range, digits: int = 3) -> str:
    low, high = (f"{value:.{digits}g}" for value in known)
    return low if low == high else f"{low} to {high}"
