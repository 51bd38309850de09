from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.layouts import flat
from tests.trees import touch


@pytest.mark.parametrize(
    ("image", "mask"),
    [("a_image", "a_label"), ("a", "a_mask"), ("a", "a-mask"), ("a_scan", "a_seg"), ("a", "a_labels")],
)
def test_an_image_lies_beside_its_mask(tmp_path: Path, image: str, mask: str) -> None:
    touch(tmp_path, f"{image}.nii.gz", f"{mask}.nii")
    assert flat.recognises(tmp_path)
    (case,) = flat.read(tmp_path).cases
    assert (case.name, case.image.name, case.mask) == ("a", f"{image}.nii.gz", tmp_path / f"{mask}.nii")


def test_what_has_no_counterpart_is_kept_apart(tmp_path: Path) -> None:
    found = flat.read(touch(tmp_path, "a.nii", "a_mask.nii", "b.nii", "c_mask.nii", "readme.txt"))
    assert [path.name for path in found.unmasked] == ["b.nii"]
    assert [path.name for path in found.orphan_masks] == ["c_mask.nii"]
    assert [path.name for path in found.ignored] == ["readme.txt"]


def test_a_folder_of_scans_alone_is_no_data_set(tmp_path: Path) -> None:
    assert not flat.recognises(touch(tmp_path, "a.nii", "b.nii", "_mask.nii"))


def test_a_scan_beside_its_picture_is_no_data_set_and_no_error(tmp_path: Path) -> None:
    assert not flat.recognises(touch(tmp_path, "a.nii.gz", "a.png"))


def test_an_image_with_two_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"one mask of the image a; found a_mask\.nii and a_seg\.nii"):
        flat.read(touch(tmp_path, "a.nii", "a_mask.nii", "a_seg.nii"))


def test_one_file_is_not_the_mask_of_a_case_and_the_scan_of_another(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"one role a file; found a_mask\.nii"):
        flat.read(touch(tmp_path, "a.nii", "a_mask.nii", "a_mask_seg.nii"))
