"""What a data set holds, for people: how it is arranged, how many cases, sizes, spacings, labels."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.checks.case import CaseFacts
from pipeline.inference.batch import InputFile
from pipeline.layouts.dataset import Dataset
from pipeline.layouts.scan_files import case_name
from pipeline.wording import count_of, enumerate_names, times

SHOWN_LABELS = 20
"""Rows of the table; grey masks that are read as labels have hundreds."""
MASK_WORDS = ("mask", "seg", "label", "truth", "annot", "class")


def show_overview(dataset: Dataset, facts: Sequence[CaseFacts], console: Console) -> None:
    """Print it.

    Args:
        dataset: as `name_labels` gives it.
        facts: of its cases.
        console: where it is printed.
    """
    is_deep = any(each.voxels is not None for each in facts)
    text = "--deep reads every file whole and counts the labels' voxels, --sheet FILE.png draws the cases"
    more = [] if is_deep else [("more", text)]
    _print([*overview_lines(dataset, facts), *more], console)
    if is_deep:
        console.print(_label_table(dataset, facts))


def overview_lines(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[tuple[str, str]]:
    """Name and text of each line."""
    patients = len({case.patient for case in dataset.cases})
    with_masks = f"{count_of(len(dataset.cases), 'case')} with a mask, of {count_of(patients, 'patient')}"
    without = len(dataset.unlabelled) + len({dataset.case_of(path) for path in dataset.unmasked})
    views = sum(case.field_of_view is not None for case in dataset.cases)
    return [
        ("layout", dataset.layout),
        ("cases", f"{with_masks}; {without} without"),
        ("counted", f"inside the fields of view of {count_of(views, 'case')}" if views else ""),
        ("channels", f"{len(dataset.modalities)}: {enumerate_names(dataset.modalities)}"),
        *_size_lines(facts),
        ("labels", enumerate_names(f"{name}={value}" for name, value in dataset.labels.items())),
    ]


def show_scans(inputs: Sequence[InputFile], facts: Sequence[CaseFacts], console: Console) -> None:
    """Print what a folder that is arranged as no data set holds, and how it could be one.

    Args:
        inputs: its files.
        facts: of the scans that were read.
        console: where it is printed.
    """
    _print(scan_lines(inputs, facts), console)


def scan_lines(inputs: Sequence[InputFile], facts: Sequence[CaseFacts]) -> list[tuple[str, str]]:
    """Name and text of each line."""
    scans = [entry for entry in inputs if entry.is_scan]
    known = {each.case for each in facts if each.shape is not None}
    readable = [entry for entry in scans if entry.case in known]
    folders = len({entry.path.parent for entry in scans})
    return [
        ("layout", "none: scans, and no masks that can be told from them by name or folder"),
        ("scans", f"{len(scans)} in {count_of(folders, 'folder')}; {count_of(len(inputs) - len(scans), 'other file')}"),
        *_size_lines(facts),
        ("to train", _how_to_train(readable)),
    ]


def _size_lines(facts: Sequence[CaseFacts]) -> list[tuple[str, str]]:
    shapes = [tuple(map(float, each.shape)) for each in facts if each.shape is not None]
    spacings = [each.spacing_mm for each in facts if each.spacing_mm is not None]
    return [("size", _range(shapes, "voxels")), ("spacing", _range(spacings, "mm"))]


def _print(lines: Iterable[tuple[str, str]], console: Console) -> None:
    """Print names and texts; a line without a text is left out."""
    for name, text in lines:
        if text:
            console.print(f"{name:<12} {text}", markup=False, highlight=False, soft_wrap=True)


def _how_to_train(scans: Sequence[InputFile]) -> str:
    if not scans:
        return "scans are needed that can be read; none of these can"
    scans = [entry for entry in scans if entry.volume is None]
    if not scans:
        return "convert the series to NIfTI (dcm2niix): predict and check read DICOM, training does not"
    return f"say in a configuration which files are scans and which are masks, for example {_files_setting(scans)}"


def _files_setting(scans: Sequence[InputFile]) -> str:
    """An example of `data.files`, with the names of a folder where several folders have files of the same names."""
    names: dict[Path, set[str]] = defaultdict(set)
    for entry in scans:
        names[entry.path.parent].add(entry.path.name)
    same = sorted(set[str].intersection(*names.values()), key=_looks_like_a_mask) if len(names) > 1 else []
    if len(same) > 1:
        mask = same[-1] if _looks_like_a_mask(same[-1])[0] else "MASK"
        example = f'data.files={{images: ["{{case}}/{same[0]}"], masks: ["{{case}}/{mask}"]}}'
        return f"{example}, where each folder has {enumerate_names(sorted(same))}"
    ending = scans[0].path.name.removeprefix(case_name(scans[0].path))
    return f'data.files={{images: ["{{case}}{ending}"], masks: ["{{case}}_mask{ending}"]}}'


def _looks_like_a_mask(name: str) -> tuple[bool, str]:
    """For sorting: names with a word for masks come last."""
    return any(word in name.lower() for word in MASK_WORDS), name


def _range(rows: Sequence[tuple[float, ...]], unit: str) -> str:
    """Median and range along each axis, or the one value that all have."""
    if not rows:
        return ""
    low, middle, high = (times(values) for values in np.percentile(rows, [0, 50, 100], axis=0))
    return f"{middle} {unit}" if low == high else f"{middle} {unit} (median), from {low} to {high}"


def _label_table(dataset: Dataset, facts: Sequence[CaseFacts]) -> Table:
    """In how many masks each label is, and how much of the voxels it has there, at the median."""
    table = Table("label", "value", "in masks", "share of their voxels")
    read = [each.voxels for each in facts if each.voxels is not None]
    for name, value in list(dataset.labels.items())[:SHOWN_LABELS]:
        shares = [voxels[value] / sum(voxels.values()) for voxels in read if value in voxels]
        median = f"{np.median(shares):.2%}" if shares else "-"
        table.add_row(name, str(value), f"{len(shares)} of {len(read)}", median)
    rest = len(dataset.labels) - SHOWN_LABELS
    if rest > 0:
        table.add_row(f"and {rest} more")
    return table
