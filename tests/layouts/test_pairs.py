from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.layouts import pairs
from pipeline.layouts.pairs import match


def _named(*names: str) -> dict[str, Path]:
    return {name: Path(name + ".nii.gz") for name in names}


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("mask", ["a", "a_mask", "a_seg", "a_label"])
def test_a_mask_matches_its_image_by_name_or_by_name_and_suffix(mask: str) -> None:
    matching = match(_named("a"), _named(mask))
    assert matching.pairs == {"a": (Path("a.nii.gz"), Path(mask + ".nii.gz"))}
    assert (matching.images, matching.masks) == ((), ())


def test_images_and_masks_without_a_counterpart_are_kept_apart() -> None:
    matching = match(_named("a", "b"), _named("b", "c_mask", "b_other"))
    assert list(matching.pairs) == ["b"]
    assert matching.images == (Path("a.nii.gz"),)
    assert matching.masks == (Path("c_mask.nii.gz"), Path("b_other.nii.gz"))


def test_a_mask_with_the_very_name_of_an_image_is_not_lent_to_another_image() -> None:
    matching = match(_named("a", "a_seg"), _named("a_seg"))
    assert list(matching.pairs) == ["a_seg"]
    assert matching.images == (Path("a.nii.gz"),)


def test_two_masks_for_an_image_are_an_error_that_names_every_such_image() -> None:
    with pytest.raises(
        DatasetError, match=r"one mask an image; found several for a \(a, a_seg\), b \(b_label, b_mask\)"
    ):
        match(_named("a", "b"), _named("a", "a_seg", "b_mask", "b_label"))


@pytest.mark.parametrize("folder", ["masks", "labels"])
def test_masks_lie_in_masks_or_in_labels(tmp_path: Path, folder: str) -> None:
    _touch(tmp_path, "images/b.nii.gz", "images/a.nii", f"{folder}/a.nii.gz", f"{folder}/b_seg.nii")
    assert pairs.recognises(tmp_path)
    dataset = pairs.read(tmp_path)
    assert [case.name for case in dataset.cases] == ["a", "b"]
    assert [case.mask for case in dataset.cases] == [tmp_path / folder / "a.nii.gz", tmp_path / folder / "b_seg.nii"]
    assert dataset.name == tmp_path.name


def test_both_masks_and_labels_are_ambiguous(tmp_path: Path) -> None:
    _touch(tmp_path, "images/a.nii", "masks/a.nii", "labels/a.nii")
    with pytest.raises(DatasetError, match="one folder of masks; found both masks and labels"):
        pairs.read(tmp_path)


@pytest.mark.parametrize("present", ["images/a.nii", "masks/a.nii"])
def test_half_of_the_layout_is_neither_recognised_nor_read(tmp_path: Path, present: str) -> None:
    _touch(tmp_path, present)
    assert not pairs.recognises(tmp_path)
    with pytest.raises(DatasetError, match="a folder images beside a folder masks or labels"):
        pairs.read(tmp_path)


def test_hidden_files_and_folders_are_passed_over_and_other_files_are_kept_apart(tmp_path: Path) -> None:
    _touch(
        tmp_path, "images/a.nii", "images/._a.nii", "images/notes.txt", "images/old/b.nii", "masks/a.nii", "masks/a.txt"
    )
    dataset = pairs.read(tmp_path)
    assert [case.name for case in dataset.cases] == ["a"]
    assert dataset.unmasked == ()
    assert dataset.ignored == (tmp_path / "images/notes.txt", tmp_path / "masks/a.txt")


def test_two_images_of_one_name_are_an_error(tmp_path: Path) -> None:
    _touch(tmp_path, "images/a.nii", "images/a.nii.gz", "masks/a.nii")
    with pytest.raises(DatasetError, match=r"for the case a; found images/a\.nii and images/a\.nii\.gz"):
        pairs.read(tmp_path)


def test_files_without_a_name_in_common_are_matched_by_what_tells_them_apart(tmp_path: Path) -> None:
    for case in (21, 22):
        for name in ("images/{}_training.nii", "1st_manual/{}_manual1.nii", "mask/{}_training_mask.nii"):
            _touch(tmp_path, name.format(case))
    dataset = pairs.read(tmp_path)
    assert [(case.name, case.mask, case.field_of_view) for case in dataset.cases] == [
        (f"{case}", tmp_path / f"1st_manual/{case}_manual1.nii", tmp_path / f"mask/{case}_training_mask.nii")
        for case in (21, 22)
    ]

    assert dataset.loose_match == "21_training.nii with 21_manual1.nii"


def test_names_that_fit_are_matched_without_a_word(tmp_path: Path) -> None:
    _touch(tmp_path, "images/a.nii", "masks/a.nii")
    assert pairs.read(tmp_path).loose_match == ""


@pytest.mark.parametrize("masks", ["labels", "masks"])
def test_a_folder_mask_beside_other_masks_than_drives_may_be_either(tmp_path: Path, masks: str) -> None:
    _touch(tmp_path, "images/a.nii", f"{masks}/a.nii", "mask/a.nii")
    with pytest.raises(DatasetError, match=f"one folder of masks; found both {masks} and mask .* field_of_view"):
        pairs.read(tmp_path)


def test_numbers_that_differ_are_no_match(tmp_path: Path) -> None:
    _touch(tmp_path, "images/21_a.nii", "images/22_a.nii", "masks/31_b.nii", "masks/32_b.nii")
    dataset = pairs.read(tmp_path)
    assert (dataset.cases, len(dataset.unmasked), len(dataset.orphan_masks)) == ((), 2, 2)


def test_a_scan_without_its_field_of_view_is_named(tmp_path: Path) -> None:
    _touch(tmp_path, "images/a.nii", "images/b.nii", "masks/a.nii", "masks/b.nii", "fov/a.nii")
    with pytest.raises(DatasetError, match=r"an image in fov for every scan; found none for b\.nii"):
        pairs.read(tmp_path)
