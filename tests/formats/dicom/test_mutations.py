"""Damaged files give a message, whatever was damaged."""

import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ScanError
from pipeline.formats.dicom.frames import look_into
from pipeline.formats.dicom.pixels import read_values
from pipeline.formats.dicom.volumes import find_volumes
from tests.formats.dicom_files import write_enhanced, write_slice

PIXELS = np.arange(12, dtype=np.int16).reshape(3, 4)
HEADER = 132
"""Bytes of the preamble, which mean nothing."""


def contents() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = [
            write_slice(Path(folder) / "slice", PIXELS, (0, 0, 0), RescaleSlope=2, RescaleIntercept=-1),
            write_enhanced(Path(folder) / "enhanced", np.stack([PIXELS] * 2), [(0, 0, 0), (0, 0, 1)]),
        ]
        return [path.read_bytes() for path in files]


WHOLE = contents()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    changes = st.tuples(st.integers(HEADER, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(changes, max_size=6)):
        content[place] = value
    del content[data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content)))) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(content)
        file = look_into(path)
        assert bool(file.frames) + bool(file.problem) + bool(file.note) == 1
        find_volumes(file.frames)
        if file.frames:
            with suppress(ScanError):
                read_values(file.frames)


def test_a_header_that_claims_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a", PIXELS, (0, 0, 0), Rows=65535, Columns=65535)
    with pytest.raises(ScanError, match="slices of at most"):
        read_values(look_into(path).frames)


def test_deflated_zeros_do_not_pass_for_pixels(tmp_path: Path) -> None:
    content = write_slice(tmp_path / "a", PIXELS, (0, 0, 0)).read_bytes()
    (tmp_path / "a").write_bytes(content[:400] + zlib.compress(bytes(10**6)))
    file = look_into(tmp_path / "a")
    assert (file.frames, file.problem is None) == ((), False)
