"""What each file of a collection of DICOM that is meant to be hard turns out to be, alone."""

import csv
from pathlib import Path

from pipeline.errors import ScanError
from pipeline.formats.content import HEAD_BYTES, read_bytes, unpacked_head
from pipeline.formats.dicom.frames import look_into, recognises
from pipeline.formats.dicom.pixels import read_values
from tests.conftest import RealData

TABLE = Path(__file__).with_name("hostile.csv")
"""File, and what it is: the size of its images and how many; what it is instead; or why it is refused."""


def verdict(path: Path) -> str:
    """What becomes of a file by itself."""
    if not recognises(unpacked_head(read_bytes(path, HEAD_BYTES))):
        return "no DICOM"
    file = look_into(path)
    if not file.frames:
        return file.note or f"refused: {file.problem.expected if file.problem else ''}"
    try:
        columns, rows, count = read_values(file.frames).shape
    except ScanError as error:
        return f"refused: {error.expected}"
    return f"{count} of {columns} x {rows}"


def test_every_file_is_read_or_says_why_not(real_data: RealData) -> None:
    root = real_data("hostile/dicom_hostile")
    with TABLE.open(newline="", encoding="utf-8") as stream:
        expected = {row["file"]: row["verdict"] for row in csv.DictReader(stream)}
    found = {path.relative_to(root).as_posix(): verdict(path) for path in root.rglob("*") if path.is_file()}
    assert found == expected
