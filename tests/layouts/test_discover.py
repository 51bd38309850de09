import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from pipeline.config.data import DataConfig
from pipeline.errors import DatasetError
from pipeline.layouts.dataset import Dataset
from pipeline.layouts.discover import discover, discover_scans, recognise
from tests.trees import touch

WriteVolume = Callable[..., Path]
RealData = Callable[[str], Path]


def _discover(root: Path, **settings: Any) -> Dataset:
    return discover(DataConfig(root=root, **settings))


@pytest.fixture
def pairs_root(tmp_path: Path, write_volume: WriteVolume) -> Path:
    """Three cases of two patients; their masks hold the values 0 and 2, 0 and 5, and 0 alone."""
    for name, value in (("p1_a", 2), ("p1_b", 5), ("p2_a", 0)):
        write_volume(tmp_path / "pairs/images" / f"{name}.nii.gz", np.ones((3, 4, 5), np.int16))
        mask = np.zeros((3, 4, 5), np.uint8)
        mask[1, 1, 1] = value
        write_volume(tmp_path / "pairs/masks" / f"{name}.nii.gz", mask)
    return tmp_path / "pairs"


@pytest.fixture
def decathlon_root(tmp_path: Path, write_volume: WriteVolume) -> Path:
    """One case with two channels and one test scan."""
    root = tmp_path / "decathlon"
    write_volume(root / "imagesTr/a.nii.gz", np.ones((3, 4, 5, 2), np.int16))
    write_volume(root / "labelsTr/a.nii.gz", np.ones((3, 4, 5), np.uint8))
    write_volume(root / "imagesTs/b.nii.gz", np.ones((3, 4, 5, 2), np.int16))
    content = {"labels": {"0": "background", "1": "tumour"}, "modality": {"0": "FLAIR", "1": "T1w"}}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_the_layout_is_found_without_configuration(pairs_root: Path, decathlon_root: Path) -> None:
    assert [case.name for case in _discover(pairs_root).cases] == ["p1_a", "p1_b", "p2_a"]
    assert [case.name for case in _discover(decathlon_root).unlabelled] == ["b"]


def test_labels_that_nothing_names_are_left_open_and_no_mask_is_opened(pairs_root: Path) -> None:
    (pairs_root / "masks/p1_a.nii.gz").write_bytes(b"broken")
    dataset = _discover(pairs_root)
    assert (dataset.labels, dataset.declared) == ({}, False)


def test_labels_of_dataset_json_are_taken_without_opening_a_mask(decathlon_root: Path) -> None:
    (decathlon_root / "labelsTr/a.nii.gz").write_bytes(b"broken")
    dataset = _discover(decathlon_root)
    assert (dataset.labels, dataset.modalities) == ({"tumour": 1}, ("FLAIR", "T1w"))
    assert dataset.declared


@pytest.mark.parametrize("fixture", ["pairs_root", "decathlon_root"])
def test_the_configuration_overrides_labels_and_modalities(fixture: str, request: pytest.FixtureRequest) -> None:
    dataset = _discover(request.getfixturevalue(fixture), labels={"apex": 5, "base": 2}, modalities=("CT", "PET"))
    assert list(dataset.labels.items()) == [("base", 2), ("apex", 5)]  # the classes of the network follow the values
    assert dataset.modalities == ("CT", "PET")
    assert dataset.declared


def test_modalities_that_nothing_names_are_mr_for_each_channel(pairs_root: Path, decathlon_root: Path) -> None:
    assert _discover(pairs_root).modalities == ("MR",)
    (decathlon_root / "dataset.json").unlink()
    assert _discover(decathlon_root).modalities == ("MR", "MR")


def test_the_channels_are_counted_in_the_first_scan_that_can_be_read(decathlon_root: Path) -> None:
    (decathlon_root / "dataset.json").unlink()
    (decathlon_root / "imagesTr/a.nii.gz").write_bytes(b"broken")
    assert _discover(decathlon_root).modalities == ("MR", "MR")  # of the test scan
    (decathlon_root / "imagesTs/b.nii.gz").write_bytes(b"broken")
    assert _discover(decathlon_root).modalities == ("MR",)


def test_patients_come_from_the_pattern(pairs_root: Path) -> None:
    dataset = _discover(pairs_root, patient_pattern="^(.*?)_")
    assert [case.patient for case in dataset.cases] == ["p1", "p1", "p2"]


def test_patients_come_from_the_table_for_scans_without_a_mask_too(decathlon_root: Path, tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\na,x\nb,y\n")
    dataset = _discover(decathlon_root, patient_table=table)
    assert [case.patient for case in (*dataset.cases, *dataset.unlabelled)] == ["x", "y"]
    table.write_text("case,patient\na,x\n")
    with pytest.raises(DatasetError, match="found none for 1 of 2: b"):
        _discover(decathlon_root, patient_table=table)


def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"the folder of a data set; found nothing at .*Correct the path"):
        _discover(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="found a file at"):
        _discover(tmp_path / "file")


def test_a_folder_of_neither_layout_is_an_error_that_says_what_lies_in_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found .* with nothing in it"):
        _discover(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DatasetError, match=r"imagesTr and labelsTr, images with masks.*with readme\.txt, scans\."):
        _discover(tmp_path)


def test_a_folder_around_a_data_set_is_an_error_that_names_the_inner_one(pairs_root: Path) -> None:
    with pytest.raises(DatasetError, match=f"Set data.root to {pairs_root}"):
        _discover(pairs_root.parent)


def test_a_folder_of_both_layouts_is_read_as_the_configuration_says(pairs_root: Path) -> None:
    (pairs_root / "imagesTr").mkdir()
    with pytest.raises(DatasetError, match=r"could be decathlon or pairs\. Say which in data\.layout"):
        _discover(pairs_root)
    assert len(_discover(pairs_root, layout="pairs").cases) == 3


def test_a_layout_that_the_folder_does_not_have_is_an_error(pairs_root: Path) -> None:
    with pytest.raises(DatasetError, match="a folder imagesTr with the scans"):
        _discover(pairs_root, layout="decathlon")


def test_folders_without_a_scan_are_an_error_that_says_what_they_hold(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DatasetError, match=r"scans \(NIfTI, .*PNG.*\) in .*; found none\. Convert them"):
        _discover(tmp_path)
    (tmp_path / "images/a.txt").touch()
    with pytest.raises(DatasetError, match=r"found only files that are none \(\.txt\)"):
        _discover(tmp_path)


def test_the_hippocampus_is_found_whole(real_data: RealData) -> None:
    dataset = _discover(real_data("hippocampus"))
    assert len(dataset.cases) == 208
    assert (dataset.labels, dataset.modalities) == ({"anterior": 1, "posterior": 2}, ("MRI",))
    assert (dataset.unmasked, dataset.orphan_masks, dataset.missing, dataset.unlisted) == ((), (), (), ())


def test_acdc_is_found_as_pairs_of_30_patients(real_data: RealData) -> None:
    labels = {"right_ventricle": 1, "myocardium": 2, "left_ventricle": 3}
    dataset = _discover(real_data("acdc"), patient_pattern="^(.*?)_", labels=labels)
    assert len(dataset.cases) == 60
    assert len({case.patient for case in dataset.cases}) == 30


def test_pairs_beside_a_dataset_json_are_pairs_and_take_its_labels(pairs_root: Path) -> None:
    content = {"labels": {"0": "background", "2": "liver"}, "modality": {"0": "CT"}}
    (pairs_root / "dataset.json").write_text(json.dumps(content))
    dataset = _discover(pairs_root)
    assert ([case.name for case in dataset.cases], dataset.labels) == (["p1_a", "p1_b", "p2_a"], {"liver": 2})
    assert (dataset.modalities, dataset.modalities_declared) == (("CT",), True)


def test_a_dataset_json_beside_another_layout_only_describes_it(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"liver": 1}, "modality": {"0": "CT"}}))
    assert recognise(tmp_path) == ["decathlon"]
    touch(tmp_path, "a.nii", "a_mask.nii")
    assert (recognise(tmp_path), _discover(tmp_path).labels) == (["flat"], {"liver": 1})


def test_a_table_of_files_that_do_not_exist_is_found_for_the_checks_to_name_them(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("image,mask\nx/a.nii,x/b.nii\n")
    assert _discover(tmp_path).incomplete == (("a", tmp_path / "x/a.nii"), ("a", tmp_path / "x/b.nii"))


def test_modalities_that_nothing_names_are_assumed_and_known_to_be(pairs_root: Path) -> None:
    assert (_discover(pairs_root).modalities, _discover(pairs_root).modalities_declared) == (("MR",), False)
    assert _discover(pairs_root, modalities=("CT",)).modalities_declared


@pytest.mark.parametrize(
    ("shape", "modalities", "declared"),
    [((4, 5), ("grey",), True), ((4, 5, 3), ("red", "green", "blue"), True), ((4, 5, 2), ("MR", "MR"), False)],
)
def test_the_channels_of_pictures_are_their_colours(
    tmp_path: Path, shape: tuple[int, ...], modalities: tuple[str, ...], declared: bool
) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    pixels = np.full(shape, 7, np.uint8)
    photometric = "rgb" if shape[-1] == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "images" / "a.tif", pixels, photometric=photometric, planarconfig="contig")
    tifffile.imwrite(tmp_path / "masks" / "a.tif", pixels[..., 0] if pixels.ndim == 3 else pixels)
    dataset = _discover(tmp_path)
    assert (dataset.modalities, dataset.modalities_declared) == (modalities, declared)


# --- Scans without masks


def _scans(root: Path, **settings: Any) -> Dataset:
    return discover_scans(DataConfig(root=root, **settings))


def test_masks_of_a_data_set_are_passed_over(pairs_root: Path) -> None:
    (pairs_root / "masks/p1_a.nii.gz").write_bytes(b"broken")
    dataset = _scans(pairs_root, patient_pattern=r"(p\d)")
    assert [(case.name, case.masks, case.patient) for case in dataset.cases] == [
        ("p1_a", (), "p1"),
        ("p1_b", (), "p1"),
        ("p2_a", (), "p2"),
    ]
    assert (dataset.labels, dataset.unlabelled) == ({}, ())


def test_scans_that_lack_a_mask_are_beside_those_that_have_one(pairs_root: Path, decathlon_root: Path) -> None:
    (pairs_root / "masks/p2_a.nii.gz").unlink()
    dataset = _scans(pairs_root)
    assert [case.name for case in dataset.cases] == ["p1_a", "p1_b"]
    assert [case.name for case in dataset.unlabelled] == ["p2_a"]
    assert dataset.unmasked == ()
    found = _scans(decathlon_root)
    assert ([case.name for case in found.cases], [case.name for case in found.unlabelled]) == (["a"], ["b"])


def test_a_folder_that_is_no_data_set_is_looked_through_to_any_depth(tmp_path: Path, write_volume: WriteVolume) -> None:
    for place in ("b.nii.gz", "deep/er/a.nii.gz", ".hidden.nii.gz"):
        write_volume(tmp_path / "scans" / place, np.ones((3, 4, 5), np.int16))
    touch(tmp_path / "scans" / "letter.pdf")
    dataset = _scans(tmp_path / "scans", modalities=("CT",))
    assert [case.name for case in dataset.cases] == ["b", "deep__er__a"]
    assert (dataset.name, dataset.modalities, dataset.layout) == ("scans", ("CT",), "a folder of scans")


def test_a_folder_without_a_scan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    touch(tmp_path / "scans" / "letter.pdf")
    with pytest.raises(DatasetError, match=r"scans \(NIfTI.*\) in .*scans; found none\. Correct data\.root"):
        _scans(tmp_path / "scans")


def test_scans_of_a_data_set_without_any_mask_keep_their_patients(pairs_root: Path) -> None:
    for path in (pairs_root / "masks").iterdir():
        path.unlink()
    dataset = _scans(pairs_root, patient_pattern=r"(p\d)", layout="pairs")
    assert [(case.name, case.patient) for case in dataset.cases] == [("p1_a", "p1"), ("p1_b", "p1"), ("p2_a", "p2")]


def test_a_plain_folder_has_assumed_modalities_and_no_masks(tmp_path: Path, write_volume: WriteVolume) -> None:
    for name in ("p1/scan.nii.gz", "p1/scan_seg.nii.gz", "p2/scan.nii.gz"):
        write_volume(tmp_path / "scans" / name, np.ones((3, 4, 5), np.int16))
    dataset = _scans(tmp_path / "scans")
    assert [case.name for case in dataset.cases] == ["p1__scan", "p2__scan"]
    assert (dataset.modalities, dataset.modalities_declared) == (("MR",), False)
