"""What `check` says that a data set holds, and the pictures of it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.figures import SHEET_COLUMNS, THUMBNAIL_PIXELS

WriteVolume = Callable[..., Path]


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
    assert shown(dataset, "--sheet", sheet)[6] == f"pictures     8 in {sheet}"
    with Image.open(sheet) as opened:
        picture = np.asarray(opened)
    assert picture.shape[1] > SHEET_COLUMNS * THUMBNAIL_PIXELS
    assert picture.shape[0] > 2 * THUMBNAIL_PIXELS
    assert (picture == (230, 75, 53)).all(-1).sum() > 8 * 50  # the outline of the first label
