"""What a data set holds, for people: how it is arranged, how many cases, sizes, spacings, labels."""

from collections.abc import Iterable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.checks import CaseFacts
from pipeline.layouts.dataset import Dataset
from pipeline.wording import count_of, enumerate_names


def show_overview(dataset: Dataset, facts: Sequence[CaseFacts], console: Console) -> None:
    """Print it.

    Args:
        dataset: as `name_labels` gives it.
        facts: of its cases.
        console: where it is printed.
    """
    for name, text in overview_lines(dataset, facts):
        console.print(f"{name:<12} {text}", markup=False, highlight=False, soft_wrap=True)
    if any(each.voxels is not None for each in facts):
        console.print(_label_table(dataset, facts))


def overview_lines(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[tuple[str, str]]:
    """Name and text of each line."""
    patients = len({case.patient for case in dataset.cases})
    with_masks = f"{count_of(len(dataset.cases), 'case')} with a mask, of {count_of(patients, 'patient')}"
    shapes = [each.shape for each in facts if each.shape is not None]
    spacings = [each.spacing_mm for each in facts if each.spacing_mm is not None]
    lines = [
        ("layout", dataset.layout),
        ("cases", f"{with_masks}; {len(dataset.unlabelled)} without"),
        ("channels", f"{len(dataset.modalities)}: {enumerate_names(dataset.modalities)}"),
        ("size", _range([tuple(map(float, shape)) for shape in shapes], "voxels")),
        ("spacing", _range(spacings, "mm")),
        ("labels", enumerate_names(f"{name}={value}" for name, value in dataset.labels.items())),
    ]
    return [(name, text) for name, text in lines if text]


def _range(rows: Sequence[tuple[float, ...]], unit: str) -> str:
    """Median and range along each axis, or the one value that all have."""
    if not rows:
        return ""
    low, middle, high = (_times(values) for values in np.percentile(rows, [0, 50, 100], axis=0))
    return f"{middle} {unit}" if low == high else f"{middle} {unit} (median), from {low} to {high}"


def _times(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _label_table(dataset: Dataset, facts: Sequence[CaseFacts]) -> Table:
    """In how many masks each label is, and how much of the voxels it has there, at the median."""
    table = Table("label", "value", "in masks", "share of their voxels")
    read = [each for each in facts if each.voxels is not None and each.shape is not None]
    for name, value in dataset.labels.items():
        shares = [
            each.voxels[value] / float(np.prod(each.shape))
            for each in read
            if each.voxels is not None and each.shape is not None and value in each.voxels
        ]
        median = f"{np.median(shares):.2%}" if shares else "-"
        table.add_row(name, str(value), f"{len(shares)} of {len(read)}", median)
    return table
