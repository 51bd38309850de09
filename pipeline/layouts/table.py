"""A table that lists the cases: ``cases.csv`` in the data set's folder, a row a case.

Columns: ``image``, or ``image_0``, ``image_1`` and so on for a file a channel; ``mask``, empty for scans alone; and,
where they are known, ``case`` (else the image's name), ``patient``, ``field_of_view``. Paths start from the table's
folder.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config.data import CASE
from pipeline.errors import DatasetError
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.dataset_json import described, read_description
from pipeline.layouts.patterns import channel_files
from pipeline.layouts.scan_files import case_name
from pipeline.wording import enumerate_names

FILE_NAME = "cases.csv"
IMAGE = re.compile(r"image(_\d+)?")
Row = dict[str, str]


def recognises(root: Path) -> bool:
    """Whether a folder has such a table; `predict` and `evaluate` write others of this name."""
    path = root / FILE_NAME
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        return re.search(r"\bimage(_\d+)?\b", stream.readline()) is not None  # with whatever between the columns


def read(root: Path) -> Dataset:
    """The cases of the table; dataset.json may name labels and modalities.

    Raises:
        DatasetError: the table cannot be read, lacks a column, or names a case twice.
    """
    rows, description = _rows(root / FILE_NAME), read_description(root)
    cases = [_case(root, row, line) for line, row in enumerate(rows, start=2)]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        found = f"several for {enumerate_names(twice)}"
        raise DatasetError(f"one row a case in {root / FILE_NAME}", found, "Name them in a column `case`, each once.")
    whole = [case for case in cases if not _missing(case)]
    return replace(
        described(root, description),
        cases=tuple(case for case in whole if case.mask is not None),
        unlabelled=tuple(case for case in whole if case.mask is None),
        channel_files=_channel_files(root, cases),
        incomplete=tuple((case.name, path) for case in cases for path in _missing(case)),
    )


def _rows(path: Path) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError("a table of cases as CSV", f"{path}: {error}", "Save it as CSV in UTF-8.") from error
    columns = [str(name) for name in rows[0]] if rows else []
    if not _image_columns(columns) or "mask" not in columns:
        found = f"the columns {', '.join(columns)}" if columns else "no rows"
        raise DatasetError(f"rows under the columns image and mask in {path}", found, _remedy(columns))
    return rows


def _remedy(columns: Sequence[str]) -> str:
    if not columns:
        return "Add a row a case."
    if len(columns) == 1:
        return "Separate the columns by commas."
    return "Call the columns so; a scan without a mask has an empty one."


def _case(root: Path, row: Row, line: int) -> Case:
    images = tuple(root / row[column].strip() for column in _image_columns(list(row)) if row[column].strip())
    columns = _image_columns(list(row))
    if len(images) < len(columns):
        found = f"{len(images)} of {len(columns)} in line {line}"
        raise DatasetError(f"every image of a row in {root / FILE_NAME}", found, "Add what is missing.")
    mask, view = (row.get(column, "").strip() for column in ("mask", "field_of_view"))
    name = row.get("case", "").strip() or case_name(images[0])
    patient = row.get("patient", name).strip()
    if not patient:
        expected, found = f"a patient in every row of {root / FILE_NAME}", f"none in line {line}"
        raise DatasetError(expected, found, "Add it; where nobody knows it, leave out the column.")
    return Case(name, images, root / mask if mask else None, patient, root / view if view else None)


def _channel_files(root: Path, cases: Sequence[Case]) -> tuple[str, ...]:
    """How channels are called after their case, by which `predict` finds those of others; empty without a rule."""
    rules = [[_rule(path, root, case.name) for path in case.images] for case in cases if len(case.images) > 1]
    if any(CASE not in each for rule in rules for each in rule):
        return ()
    short = {channel_files(rule) for rule in rules}
    return short.pop() if len(short) == 1 else ()


def _rule(path: Path, root: Path, case: str) -> str:
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(case)}(?![A-Za-z0-9])", CASE, name)


def _image_columns(columns: list[str]) -> list[str]:
    return sorted((name for name in columns if name and IMAGE.fullmatch(name)), key=lambda name: (len(name), name))


def _missing(case: Case) -> list[Path]:
    files = [*case.images, *case.masks, *([] if case.field_of_view is None else [case.field_of_view])]
    return [path for path in files if not path.exists()]
