"""What `check` says that a data set holds, and the pictures of it."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import DatasetError
from pipeline.figures import SHEET_COLUMNS, THUMBNAIL_PIXELS

WriteVolume = Callable[..., Path]
RealData = Callable[[str], Path]


@pytest.fixture
def dataset(tmp_path: Path, write_volume: WriteVolume) -> Path:
    """Eight cases of four patients; a structure of 8 of 210 voxels in all masks, and one of 1 voxel in half of them."""
    root = tmp_path / "set"
    for number in range(8):
        image, mask = np.zeros((5, 6, 7), np.int16), np.zeros((5, 6, 7), np.uint8)
        image[1:3, 2:4, 3:5] = 10 + number
        mask[1:3, 2:4, 3:5] = 1
        mask[4, 5, 6] = 2 * (number % 2)
        write_volume(root / "images" / f"p{number // 2}_{number}.nii.gz", image)
        write_volume(root / "masks" / f"p{number // 2}_{number}.nii.gz", mask)
    (root / "dataset.json").write_text(json.dumps({"labels": {"organ": 1, "spot": 2}, "modality": {"0": "MR"}}))
    return root


def shown(*arguments: object) -> list[str]:
    done = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_check_says_which_layout_it_found_and_why_and_what_is_in_it(dataset: Path) -> None:
    assert shown(dataset)[:6] == [
        "layout       pairs: a folder images beside a folder of masks",
        "cases        8 cases with a mask, of 8 patients; 0 without",
        "channels     1: MR",
        "size         5 x 6 x 7 voxels",
        "spacing      1 x 1 x 1 mm",
        "labels       organ=1, spot=2",
    ]
    assert (
        "--deep reads every file whole and counts the labels' voxels, --sheet FILE.png draws the cases"
        in shown(dataset)[6]
    )
    assert not any(line.startswith("more") for line in shown(dataset, "--deep"))


def test_a_deep_check_counts_the_labels(dataset: Path) -> None:
    lines = shown(dataset, "--deep")
    assert any(line.split()[1::2] == ["organ", "1", "8", "8", "3.81%"] for line in lines if "organ" in line[:12])
    assert any(line.split()[1::2] == ["spot", "2", "4", "8", "0.48%"] for line in lines if "spot" in line[:12])


def test_a_configuration_is_checked_as_it_arranges_its_data(dataset: Path, tmp_path: Path) -> None:
    files = '{images: ["images/{case}.nii.gz"], masks: ["masks/{case}.nii.gz"]}'
    text = f"name: mine\ndata: {{root: {dataset.name}, patient_pattern: '^(.*?)_', files: {files}}}\n"
    (tmp_path / "mine.yaml").write_text(text)
    lines = shown(tmp_path / "mine.yaml")
    assert lines[:2] == [
        "layout       as data.files says",
        "cases        8 cases with a mask, of 4 patients; 0 without",
    ]


def test_the_contact_sheet_has_a_picture_a_case_with_the_masks_colours(dataset: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert shown(dataset, "--sheet", sheet)[7] == f"pictures     8 in {sheet}"
    with Image.open(sheet) as opened:
        picture = np.asarray(opened)
    assert picture.shape[1] > SHEET_COLUMNS * THUMBNAIL_PIXELS
    assert picture.shape[0] > 2 * THUMBNAIL_PIXELS
    assert (picture == (230, 75, 53)).all(-1).sum() > 8 * 50  # the outline of the first label


def test_a_folder_that_is_no_data_set_says_what_it_holds_and_how_it_could_be_one(
    tmp_path: Path, write_volume: WriteVolume
) -> None:
    for case in ("one", "two"):
        for name in ("flair", "t1c", "truth"):
            write_volume(tmp_path / "set" / case / f"{name}.nii.gz", np.ones((5, 6, 7), np.int16))
    (tmp_path / "set" / "licence.txt").touch()
    lines = shown(tmp_path / "set")
    assert lines[:4] == [
        "layout       none: scans, and no masks that can be told from them by name or folder",
        "scans        6 in 2 folders; 1 other file",
        "size         5 x 6 x 7 voxels",
        "spacing      1 x 1 x 1 mm",
    ]
    example = 'data.files={images: ["{case}/flair.nii.gz"], masks: ["{case}/truth.nii.gz"]}'
    assert lines[4].startswith("to train     say in a configuration")
    assert lines[4].endswith(f"{example}, where each folder has flair.nii.gz, t1c.nii.gz, truth.nii.gz")


def test_nothing_is_proposed_of_scans_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    done = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert "to train     scans are needed that can be read; none of these can" in done.stdout
    assert done.exit_code == 2


def test_a_scan_is_not_proposed_as_a_mask(tmp_path: Path, write_volume: WriteVolume) -> None:
    for case, name in product(("one", "two"), ("flair", "t1c")):
        write_volume(tmp_path / case / f"{name}.nii.gz", np.ones((5, 6, 7), np.int16))
    assert 'images: ["{case}/flair.nii.gz"], masks: ["{case}/MASK"]' in shown(tmp_path)[-2]


def test_sizes_and_spacings_are_told_along_the_same_axes(tmp_path: Path, write_volume: WriteVolume) -> None:
    sagittal = np.array([[0.0, 0, 4, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # stored back-front, up, left-right
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.nii.gz", np.ones((5, 6, 7), np.int16), affine=sagittal)
    assert [line for line in shown(tmp_path) if line.startswith(("size", "spacing"))] == [
        "size         7 x 5 x 6 voxels",
        "spacing      4 x 1 x 1 mm",
    ]


def test_a_single_scan_is_no_data_set_to_be(tmp_path: Path, write_volume: WriteVolume) -> None:
    assert shown(write_volume(tmp_path / "a.nii.gz", np.ones((5, 6, 7), np.int16))) == ["No problems found."]


def test_fields_of_view_are_said(tmp_path: Path) -> None:
    for folder in ("images", "1st_manual", "mask"):
        (tmp_path / folder).mkdir()
        for number in (21, 22):
            name = {"images": "training.png", "1st_manual": "manual1.png", "mask": "training_mask.png"}[folder]
            Image.fromarray(np.full((8, 9), 255, np.uint8)).save(tmp_path / folder / f"{number}_{name}")
    assert "counted      inside the fields of view of 2 cases" in shown(tmp_path)


WHAT_IS_SAID = {
    "hippocampus": ("decathlon:", "208 cases with a mask", 0),
    "acdc": ("pairs:", "60 cases with a mask", 0),
    "isbi2012": ("pairs:", "24 cases with a mask", 0),
    "drive": ("pairs:", "inside the fields of view of 20 cases", 0),
    "nuclei": ("pairs:", "503 cases with a mask", 0),
    "lesions": ("flat:", "2 cases with a mask", 0),
    "brats": ("none:", 'images: ["{case}/Flair_subtrMeanDivStd.nii.gz"]', 0),
    "ct": ("none:", "scans        7 in 1 folder; 0 other files", 0),
    "dicom": ("none:", "scans        7 in 7 folders; 0 other files", 0),
    "hostile/dicom_hostile": ("none:", "a slice every 2.5 mm", 2),
    "hostile/nifti_hostile": ("none:", "scans        90 in 6 folders; 3 other files", 2),
    "hostile/hippocampus_planted": ("none:", "scans        3 in 1 folder; 0 other files", 0),
    "hostile/small_odd/cxr_lung4": ("flat:", "4 cases with a mask", 0),
    "hostile/small_odd/kvasir5_native_res": ("pairs:", "a mask with one label a voxel", 2),
    "hostile/small_odd/png_tif_8_16bit_gray_rgb_rgba": ("bids:", "0 cases with a mask, of 0 patients; 14 without", 2),
    "hostile/small_odd/spleen_ct_crop": ("bids:", "1 case with a mask", 0),
    "hostile/small_odd/torchio": ("none:", "scans        4 in 3 folders; 2 other files", 0),
}
"""Of each folder of the real data, the layout that is named, what is in it or what it lacks, and the exit code."""
NOT_SAID = {
    "hostile/small_odd/sem_axon_myelin": "Expected masks of one kind",
    "hostile/small_odd/spinal_cord_mr": "Expected masks of one kind",
}
"""Folders that could be read in several ways."""


@pytest.mark.parametrize("folder", WHAT_IS_SAID)
def test_of_every_folder_of_real_data_the_layout_is_named_and_what_it_holds_or_lacks(
    folder: str, real_data: RealData
) -> None:
    layout, said, code = WHAT_IS_SAID[folder]
    done = CliRunner().invoke(app, ["check", str(real_data(folder))])
    assert done.stdout.split()[:2] == ["layout", layout], done.output
    assert said in done.output
    assert done.exit_code == code


@pytest.mark.parametrize("folder", NOT_SAID)
def test_what_is_missing_to_choose_is_said(folder: str, real_data: RealData) -> None:
    done = CliRunner().invoke(app, ["check", str(real_data(folder))])
    assert isinstance(done.exception, DatasetError)
    assert str(done.exception).startswith(NOT_SAID[folder])
    assert "data.files={images:" in str(done.exception)


@pytest.mark.parametrize("name", ["sheet", "sheet.jpg"])
def test_a_sheet_of_another_kind_is_refused_before_anything_is_read(dataset: Path, tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["check", str(dataset), "--sheet", str(tmp_path / name)])
    assert "ends in .png" in str(done.exception)
    assert "Call it sheet.png" in str(done.exception)


@pytest.mark.parametrize("name", ["images/whole.png", "masks/whole.png", "images/unmasked.png", "fov/whole.png"])
def test_no_file_of_the_data_set_is_drawn_over(tmp_path: Path, name: str) -> None:
    for each in ("images/whole.png", "masks/whole.png", "fov/whole.png", "images/unmasked.png"):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((5, 6), 1, np.uint8)).save(tmp_path / each)
    before = (tmp_path / name).read_bytes()
    done = CliRunner().invoke(app, ["check", str(tmp_path), "--sheet", str(tmp_path / name)])
    assert "a new file for the pictures" in str(done.exception)
    assert (tmp_path / name).read_bytes() == before


def test_of_a_folder_of_scans_no_sheet_is_drawn(tmp_path: Path, write_volume: WriteVolume) -> None:
    write_volume(tmp_path / "scans" / "a.nii.gz", np.ones((5, 6, 7), np.int16))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "scans"), "--sheet", str(tmp_path / "s.png")])
    assert "a data set, of which --sheet draws cases" in str(done.exception)


def test_where_no_case_can_be_drawn_the_findings_are_said_all_the_same(dataset: Path, tmp_path: Path) -> None:
    for path in (dataset / "images").iterdir():
        path.write_bytes(b"broken")
    done = CliRunner().invoke(app, ["check", str(dataset), "--sheet", str(tmp_path / "s.png")])
    assert done.exit_code == 2
    assert "a case that can be read" in done.output
    assert "ERROR: expected" in done.output


def test_a_long_table_of_labels_is_cut(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(tmp_path / folder / "a.png")
    lines = shown(tmp_path, "--deep")
    assert sum("1 of 1" in line for line in lines) == 20
    assert any("and 79 more" in line and "label" not in line for line in lines)
