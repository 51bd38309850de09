"""`check`: a data set or a folder of scans, and what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.checks import Finding
from pipeline.cli import app
from pipeline.commands.check import check
from pipeline.errors import DatasetError
from pipeline.manifest import read_manifest

RealData = Callable[[str], Path]
WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
QUIET = Console(quiet=True)


def _ball(scale: int) -> np.ndarray:
    image = np.zeros((5, 6, 7), np.int16)
    image[1:3, 2:4, 3:5] = scale
    return image


@pytest.fixture
def dataset(tmp_path: Path, write_volume: WriteVolume) -> Path:
    root = tmp_path / "set"
    for index, name in enumerate("abcdef"):
        write_volume(root / "imagesTr" / f"{name}.nii.gz", _ball(10 + index))
        write_volume(root / "labelsTr" / f"{name}.nii.gz", _ball(1).astype(np.uint8))
    (root / "dataset.json").write_text(json.dumps({"labels": {"organ": 1}}))
    return root


def found(path: Path, *, deep: bool) -> list[tuple[str, str]]:
    """Case and expectation of each error."""
    findings = check(path, None, deep=deep, console=QUIET)
    return [(finding.case, finding.expected) for finding in findings if finding.severity == "error"]


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_data_set_has_no_errors_and_is_exit_code_0(dataset: Path, deep: bool) -> None:
    assert found(dataset, deep=deep) == []
    assert CliRunner().invoke(app, ["check", str(dataset)]).exit_code == 0


def test_every_damage_of_a_data_set_is_found_and_is_exit_code_2_with_all_of_them_in_one_report(
    dataset: Path, write_volume: WriteVolume
) -> None:
    image = dataset / "imagesTr" / "a.nii.gz"
    image.write_bytes(image.read_bytes()[:-30])
    write_volume(dataset / "imagesTr" / "b.nii.gz", np.full((5, 6, 7), np.nan, np.float32))
    write_volume(dataset / "labelsTr" / "c.nii.gz", np.ones((5, 6, 8), np.uint8))
    write_volume(dataset / "labelsTr" / "d.nii.gz", _ball(1) * np.float32(0.5))
    write_volume(dataset / "labelsTr" / "e.nii.gz", _ball(7).astype(np.uint8))
    (dataset / "labelsTr" / "f.nii.gz").unlink()
    expected = [
        ("a", "a whole file"),
        ("b", "finite values"),
        ("c", "a mask on its image's grid"),
        ("d", "whole label values"),
        ("e", "the label values 0, 1"),
        ("f", "a mask for every image"),
    ]
    assert found(dataset, deep=True) == expected
    done = CliRunner().invoke(app, ["check", str(dataset), "--deep"])
    assert done.exit_code == 2
    assert done.stdout.startswith("6 errors")
    for _, wanted in expected:
        assert f"ERROR: expected {wanted}\n" in done.stdout


def test_labels_stored_as_floats_are_taken_as_the_whole_numbers_they_are(
    dataset: Path, write_volume: WriteVolume
) -> None:
    write_volume(dataset / "labelsTr" / "a.nii.gz", _ball(1).astype(np.float32) * np.float32(0.9999999))
    assert found(dataset, deep=True) == []


def test_a_folder_of_scans_is_checked_scan_by_scan(write_volume: WriteVolume, tmp_path: Path) -> None:
    write_volume(tmp_path / "good.nii.gz", _ball(10))
    write_volume(tmp_path / "nan.nii.gz", np.full((5, 6, 7), np.nan, np.float32))
    (tmp_path / "empty.nii").write_bytes(b"")
    (tmp_path / "scan.mha").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("none")
    assert [case for case, _ in found(tmp_path, deep=False)] == ["empty", "scan.mha"]
    assert found(tmp_path, deep=True) == [
        ("empty", "a NIfTI file with header and voxels in one"),
        ("nan", "finite values"),
        ("scan.mha", "a scan that can be read"),
    ]


def test_scans_that_do_not_suit_a_model_are_errors(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 4, 4, 2), np.int16))
    (finding,) = check(path, read_manifest(write_model()), deep=False, console=QUIET)
    remedy = "Give the kind of scan that it was trained on."
    assert finding == Finding("error", "a", "1 channel, as the model threshold has", "2", remedy)


def test_a_path_with_nothing_to_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a scan or a folder of scans; found nothing at"):
        check(tmp_path / "none", None, deep=False, console=QUIET)


def test_the_files_planted_into_the_hippocampus_are_found(real_data: RealData, tmp_path: Path) -> None:
    planted, source = real_data("hostile/hippocampus_planted"), real_data("hippocampus")
    content = json.loads((source / "dataset.json").read_text())
    first = content["training"][0]
    content["training"] = content["training"][:2]
    content["test"], content["numTest"] = [], 0
    for item in content["training"]:
        for path in item.values():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).symlink_to(source / path)
    (tmp_path / first["label"]).unlink()
    (tmp_path / first["label"]).symlink_to(planted / "foreign_label.nii.gz")
    (tmp_path / "imagesTr" / "lonely_image.nii.gz").symlink_to(planted / "image_without_label.nii.gz")
    (tmp_path / "labelsTr" / "lonely_label.nii.gz").symlink_to(planted / "label_without_image.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    case = Path(first["image"]).name.removesuffix(".nii.gz")
    assert set(found(tmp_path, deep=False)) == {
        (case, "a mask on its image's grid"),
        ("lonely_image", "a mask for every image"),
        ("lonely_label", "an image for every mask"),
    }
