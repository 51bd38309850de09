"""Reading the files of a case: a scan of one file or several, its mask, and the field of view where there is one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.formats import registry
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.coding import MaskCoding
from pipeline.preprocessing.labels import IGNORED, to_classes
from pipeline.scan import Scan, ScanHeader

T = TypeVar("T")


def read_header(images: tuple[Path, ...]) -> ScanHeader:
    """Shape, affine and channels of a scan, without its voxels.

    Raises:
        ScanError: a file cannot be read, or lies on another grid than the first.
    """
    headers = _read_each(registry.read_header, images)
    for path, header in zip(images, headers, strict=True):
        _check_grid(headers[0], header, path)
    channels, repairs = sum(header.channels for header in headers), _repairs(headers)
    return replace(headers[0], channels=channels, repairs=repairs)


def read_image(images: tuple[Path, ...]) -> Scan:
    """A scan (C, I, J, K), the channels of its files one behind the other.

    Raises:
        ScanError: as `read_header`.
    """
    scans = _read_each(registry.read_scan, images)
    for path, scan in zip(images, scans, strict=True):
        _check_grid(scans[0], scan, path)
    if len(scans) == 1:
        return scans[0]
    return replace(scans[0], array=np.concatenate([scan.array for scan in scans]), repairs=_repairs(scans))


def _repairs(files: Sequence[Scan] | Sequence[ScanHeader]) -> tuple[str, ...]:
    """What had to be repaired of the files of a case, each thing once."""
    return tuple(dict.fromkeys(repair for file in files for repair in file.repairs))


def read_labels(case: Case) -> Scan:
    """The mask of a case (1, I, J, K), as label values.

    Raises:
        ScanError: it cannot be read, its pixels are not as the case's coding says, or two files claim one voxel.
    """
    scans = _read_each(partial(_read_mask, coding=case.coding), case.masks)
    for path, scan in zip(case.masks, scans, strict=True):
        _check_grid(scans[0], scan, path)
    return scans[0] if len(scans) == 1 else case.coding.merge(scans)


def _read_mask(path: Path, coding: MaskCoding) -> Scan:
    return registry.read_mask(path) if coding.is_plain else coding.decode(registry.read_coded_mask(path))


def read_field_of_view(case: Case, grid: geometry.Grid) -> NDArray[np.bool_] | None:
    """Where a mask means anything (I, J, K); None where it does everywhere.

    Args:
        case: the files.
        grid: of the case's mask.

    Raises:
        ScanError: the file cannot be read, lies on another grid, or has more than one value that is not zero.
    """
    if case.field_of_view is None:
        return None
    view = registry.read_coded_mask(case.field_of_view)
    _check_grid(grid, view, case.field_of_view)
    grey = np.setdiff1d(view.array, [0])
    if len(grey) > 1:
        found = f"{len(grey)} values besides 0 in {case.field_of_view.name}"
        remedy = "Save it with two; grey edges, as JPEG makes them, are neither inside nor outside."
        raise ScanError("one value inside a field of view, and 0 outside", found, remedy)
    return (view.array != 0).any(0)


def read_counted_labels(case: Case) -> tuple[Scan, NDArray[np.bool_] | None]:
    """The mask of a case (1, I, J, K) as label values, 0 outside the field of view, which comes with it (I, J, K).

    Raises:
        ScanError: as `read_labels` and `read_field_of_view`.
    """
    mask = read_labels(case)
    view = read_field_of_view(case, mask)
    return (mask if view is None else replace(mask, array=mask.array * view)), view


def read_classes(case: Case, label_values: tuple[int, ...]) -> NDArray[np.uint8]:
    """The mask of a case as class numbers (I, J, K), `IGNORED` outside the field of view.

    Raises:
        ScanError: a file cannot be read, or the mask holds another value than the labels' inside the field of view.
    """
    mask, view = read_counted_labels(case)
    classes = to_classes(mask.array[0], label_values)
    if view is not None:
        classes[~view] = IGNORED
    return classes


def _read_each(read: Callable[[Path], T], paths: tuple[Path, ...]) -> list[T]:
    """What each file holds; of several, an error says which one it is about."""
    if len(paths) == 1:
        return [read(paths[0])]
    return [_read_named(read, path) for path in paths]


def _read_named(read: Callable[[Path], T], path: Path) -> T:
    try:
        return read(path)
    except ScanError as error:
        raise ScanError(error.expected, f"{error.found}, in {path.name}", error.remedy) from error


def _check_grid(first: geometry.Grid, other: geometry.Grid, path: Path) -> None:
    difference = geometry.grid_difference(first, other)
    if difference is not None:
        found = f"{difference} in {path.name}"
        raise ScanError("files of a case on one grid", found, "Resample them to the grid of its first file.")
