"""The files of a predicted case: what they are called, and writing them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.checks.review import CONSTANT, review_reasons
from pipeline.config.inference import InferenceConfig
from pipeline.errors import ScanError
from pipeline.figures import COLOURS, write_preview
from pipeline.files import write_json, write_text
from pipeline.formats import registry
from pipeline.formats.dicom.segmentation import ANATOMICAL, TISSUE, Algorithm, Code, Segment, write_segmentation
from pipeline.inference.reading import ReadScan
from pipeline.inference.segmentation import DiceFinding, GateFinding, Segmentation
from pipeline.manifest import Manifest
from pipeline.metrics.instances import dividing, predicted_instances
from pipeline.metrics.structures import describe_structures
from pipeline.preprocessing.prepare import Prepared
from pipeline.report.oddity import write_oddity
from pipeline.report.viewer import viewer_page
from pipeline.scan import Scan
from pipeline.structures import LARGEST
from pipeline.wording import folder_name

MASK, STATISTICS, PREVIEW, VIEWER, SEGMENTATION = "mask", "statistics.json", "preview.png", "viewer.html", "mask.dcm"
QUALITY, ODDITY = "quality.json", "odd.png"
GATE_COLUMN, DICE_COLUMNS = "gate_score", ("predicted_dice", "dice_low", "dice_high")
FURTHER = ("label", "probability", "instances")
"""What names of the files that the settings ask for begin with; the label's value and name follow."""
DERIVED = (STATISTICS, QUALITY, PREVIEW, ODDITY, VIEWER)
"""What follows from the scan and the mask, so that it does not matter who changed it."""
Columns = dict[str, float]


@dataclass(frozen=True)
class Written:
    """What became of a case whose files were written.

    Attributes:
        columns: volumes, counts and qualities for the table.
        reasons: why its mask is to be reviewed; none where nothing speaks against it.
    """

    columns: Columns
    reasons: tuple[str, ...] = ()


def case_files(folder: Path) -> list[Path]:
    """The results that a case's folder holds, sorted by name; files of other names are not ours."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_result(path.name))


def _is_result(name: str) -> bool:
    if name in (*DERIVED, SEGMENTATION):
        return True
    stem = next((name[: -len(ending)] for ending in registry.MASK_ENDINGS if name.endswith(ending)), None)
    return stem is not None and (stem == MASK or re.fullmatch(rf"({'|'.join(FURTHER)})_\d+_\w+", stem) is not None)


def write_case(
    folder: Path,
    read: ReadScan,
    segmentation: Segmentation,
    *,
    manifest: Manifest,
    config: InferenceConfig,
    doubts: Sequence[str] = (),
) -> Written:
    """Write a case's files, the statistics last: a folder that has them is whole.

    Args:
        folder: of the case.
        read: what was segmented.
        segmentation: its mask, and its probabilities where the settings ask for them.
        manifest: of the model.
        config: which files there are besides the mask.
        doubts: why it is to be reviewed whatever the mask shows; for its page.

    Raises:
        ScanError: there are more instances than a mask can number.
    """
    labels, mask, scan = manifest.labels, segmentation.mask, read.scan
    statistics = describe_structures(mask, scan, labels)
    registry.write_mask(folder / (MASK + registry.mask_ending(scan)), mask, scan, labels=labels)
    found = _write_segmentation(folder, read, mask, manifest=manifest)
    counts = _write_further(folder, scan, segmentation, manifest=manifest, config=config)
    for name, count in counts.items():
        statistics[name]["instances"] = count
    quality = _write_quality(folder, read, segmentation, of_slices=manifest.network.dimensions == 2)
    found += [*quality.reasons, *review_reasons(statistics, scan, manifest)]
    reasons = sorted(found, key=lambda reason: not reason.startswith(CONSTANT))  # the others keep their order
    write_preview(folder / PREVIEW, scan, mask, labels=labels)
    if config.viewer_pages:
        write_text(
            folder / VIEWER, viewer_page(scan, mask, labels=labels, title=folder.name, reasons=[*doubts, *reasons])
        )
    write_json(folder / STATISTICS, statistics)
    return Written(_columns(statistics) | quality.columns, tuple(reasons))


def _write_quality(folder: Path, read: ReadScan, segmentation: Segmentation, *, of_slices: bool) -> Written:
    """Write what the gate says of a scan, what is odd about it where it is foreign, and how good its mask may be."""
    gate, content = segmentation.gate, dict[str, Any]()
    if gate is not None:
        content["gate"] = _gate_content(gate)
        if gate.is_foreign and gate.scan is not None and gate.expected is not None:
            extent_mm = _extent_mm(read.prepared, of_slices=of_slices)
            write_oddity(folder / ODDITY, gate.scan, gate.expected, extent_mm=extent_mm)
    if segmentation.estimates:
        content["predicted_dice"] = {each.label: _dice_content(each) for each in segmentation.estimates}
    if content:
        write_json(folder / QUALITY, content)
    return Written(_quality_columns(content), tuple(segmentation.reasons))


def _gate_content(gate: GateFinding) -> dict[str, Any]:
    return {"score": gate.score, "threshold": gate.threshold, "foreign": gate.is_foreign, "oddness": gate.oddness}


def _dice_content(found: DiceFinding) -> dict[str, float]:
    return {"dice": found.dice, "low": found.low, "high": found.high, "usual": found.usual}


def _extent_mm(prepared: Prepared, *, of_slices: bool) -> tuple[float, ...]:
    """How large what the gate saw is; slices that it saw apart have no extent across them."""
    extent = tuple(n * mm for n, mm in zip(prepared.trail.shape, prepared.trail.prepared_spacing_mm, strict=True))
    return (*extent[:2], 0.0) if of_slices else extent


def _quality_columns(content: Mapping[str, Any]) -> Columns:
    """The columns of what quality.json holds."""
    columns = {GATE_COLUMN: round(content["gate"]["score"], 3)} if "gate" in content else {}
    for label, found in content.get("predicted_dice", {}).items():
        names = dice_columns([label])
        columns |= {name: round(found[key], 3) for name, key in zip(names, ("dice", "low", "high"), strict=True)}
    return columns


def _write_segmentation(
    folder: Path, read: ReadScan, mask: NDArray[np.unsignedinteger], *, manifest: Manifest
) -> list[str]:
    """Write the mask for DICOM; where that cannot be done, the other mask stays, and it is said why."""
    if read.volume is None:
        return []
    by = Algorithm(manifest.name, f"medseg {__version__}, weights {manifest.weights_sha256[:16]}")
    try:
        write_segmentation(folder / SEGMENTATION, mask, read.volume, segments=_segments(manifest), by=by)
    except ScanError as error:
        return [f"no {SEGMENTATION}: {error}"]
    return []


def _write_further(
    folder: Path, scan: Scan, segmentation: Segmentation, *, manifest: Manifest, config: InferenceConfig
) -> dict[str, int]:
    """Write the files that the settings ask for, and return how many instances labels have."""
    labels, mask, ending = manifest.labels, segmentation.mask, registry.mask_ending(scan)
    if config.label_files:
        for name, value in labels.items():
            inside = (mask == value).astype(np.uint8)
            registry.write_mask(folder / (_file_name("label", name, value) + ending), inside, scan, labels={name: 1})
    counts = {}
    for name in config.instance_files:
        numbers = _instances(mask, scan, name, manifest=manifest, config=config)
        registry.write_mask(folder / (_file_name("instances", name, labels[name]) + ending), numbers, scan, labels={})
        counts[name] = int(numbers.max(initial=0))
    if segmentation.probabilities is not None:
        _write_probabilities(folder, scan, segmentation.probabilities, labels=labels)
    return counts


def read_columns(folder: Path) -> Columns:
    """The columns that `write_case` returned for a case that an earlier run wrote."""
    columns = _columns(_read_json(folder / STATISTICS))
    quality = folder / QUALITY
    return columns | (_quality_columns(_read_json(quality)) if quality.exists() else {})


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def column_names(labels: Mapping[str, int]) -> list[str]:
    """The columns that the table can have for labels: volumes in ml or px, then numbers of instances."""
    return [f"{name}_{unit}" for unit in ("ml", "px", "instances") for name in labels]


def dice_columns(labels: Iterable[str]) -> list[str]:
    """The columns of predicted Dice, and of the interval that holds the Dice, of each label."""
    return [f"{kind}_{name}" for name in labels for kind in DICE_COLUMNS]


def _instances(
    mask: NDArray[np.unsignedinteger], scan: Scan, label: str, *, manifest: Manifest, config: InferenceConfig
) -> NDArray[np.unsignedinteger]:
    """The instances of a label, or where it is a wall, those of what lies between."""
    value, is_wall = manifest.labels[label], label in manifest.evaluation.walls
    numbers = predicted_instances(
        mask != value if is_wall else mask == value,
        dividing(config.watershed, label, manifest.evaluation.walls),
        affine=scan.affine,
        per_slice=manifest.evaluation.per_slice,
    )
    found = int(numbers.max(initial=0))
    if found > LARGEST:
        raise ScanError(
            f"up to {LARGEST} instances of {label}", f"{found}", "Leave it out of inference.instance_files."
        )
    return numbers.astype(np.uint16 if found > np.iinfo(np.uint8).max else np.uint8)


def _segments(manifest: Manifest) -> list[Segment]:
    """The labels in DICOM's terms, in the colours of the pictures."""
    return [
        Segment(
            name,
            value,
            category=_code(manifest.categories.get(name)) or (ANATOMICAL if name in manifest.codes else TISSUE),
            kind=_code(manifest.codes.get(name)) or TISSUE,
            colour=COLOURS[index % len(COLOURS)],
        )
        for index, (name, value) in enumerate(manifest.labels.items())
    ]


def _code(given: tuple[str, str, str] | None) -> Code | None:
    return None if given is None else Code(*given)


def _write_probabilities(
    folder: Path, scan: Scan, probabilities: NDArray[np.float32], *, labels: Mapping[str, int]
) -> None:
    """Files of the labels, whose order is that of the network's classes."""
    for (name, value), values in zip(labels.items(), probabilities[1:], strict=True):
        target = folder / (_file_name("probability", name, value) + registry.map_ending(scan))
        registry.write_map(target, values, scan)


def _file_name(kind: str, label: str, value: int) -> str:
    """``label_2_left_kidney``: the value keeps apart labels whose names differ in what no file name should hold."""
    return folder_name(f"{kind}_{value}_{re.sub(r'[^A-Za-z0-9]+', '_', label)}")


def _columns(statistics: Mapping[str, Mapping[str, Any]]) -> Columns:
    """For the table: millilitres to six digits, whatever their size; pixels where the scan has no spacing."""
    columns: Columns = {}
    for name, values in statistics.items():
        in_px = values["volume_ml"] is None
        columns[f"{name}_px" if in_px else f"{name}_ml"] = (
            values["voxels"] if in_px else float(f"{values['volume_ml']:.6g}")
        )
        if "instances" in values:
            columns[f"{name}_instances"] = values["instances"]
    return columns
