from pathlib import Path

import nibabel
import numpy as np
import pytest

from pipeline.errors import ScanError
from pipeline.layouts.case_files import read_counted_labels, read_header, read_image
from pipeline.layouts.dataset import Case
from tests.conftest import WriteVolume

SHAPE = (3, 4, 5)


def test_channels_have_the_order_of_their_files(tmp_path: Path, write_volume: WriteVolume) -> None:
    ones = np.ones(SHAPE, np.int16)
    first, last = write_volume(tmp_path / "z.nii", ones), write_volume(tmp_path / "a.nii", 4 * ones)
    both = write_volume(tmp_path / "both.nii", np.stack([2 * ones, 3 * ones], axis=-1))
    assert read_image((first, both, last)).array[:, 0, 0, 0].tolist() == [1, 2, 3, 4]


def test_files_of_a_case_on_other_grids_are_refused_by_name(tmp_path: Path, write_volume: WriteVolume) -> None:
    first = write_volume(tmp_path / "flair.nii", np.zeros(SHAPE))
    other = write_volume(tmp_path / "t1.nii", np.zeros(SHAPE), 2.0)
    with pytest.raises(ScanError, match=r"files of a case on one grid; found .* in t1\.nii"):
        read_image((first, other))


def test_what_had_to_be_repaired_of_the_files_of_a_case_is_said_once(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    image.header.set_sform(np.diag([-1.0, -1, 1, 1]), 2)
    image.header["pixdim"][1:4] = (2, 2, 5)
    image.header["qform_code"] = 0
    files = (tmp_path / "flair.nii", tmp_path / "t1.nii")
    for path in files:
        image.to_filename(path)
    expected = ("the spacing is that of pixdim, since the sform gives none",)
    assert read_image(files).repairs == read_header(files).repairs == expected


def test_a_mask_holds_nothing_outside_its_field_of_view(tmp_path: Path, write_volume: WriteVolume) -> None:
    labels, inside = np.full(SHAPE, 7, np.uint8), np.zeros(SHAPE, np.uint8)
    inside[1] = 255
    files = [write_volume(tmp_path / f"{name}.nii", array) for name, array in (("m", labels), ("v", inside))]
    mask, view = read_counted_labels(Case("a", (files[0],), files[0], "a", files[1]))
    assert view is not None
    assert np.array_equal(mask.array[0], np.where(view, 7, 0))
    assert np.array_equal(view, inside > 0)


def test_a_field_of_view_with_grey_edges_is_refused(tmp_path: Path, write_volume: WriteVolume) -> None:
    mask = write_volume(tmp_path / "m.nii", np.ones(SHAPE, np.uint8))
    view = write_volume(tmp_path / "v.nii", np.arange(60).reshape(SHAPE).astype(np.uint8) % 3)
    with pytest.raises(
        ScanError, match=r"one value inside a field of view, and 0 outside; found 2 values .* in v\.nii"
    ):
        read_counted_labels(Case("a", (mask,), mask, "a", view))
