"""`check`: a data set or a folder of scans, and what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from pipeline.checks.findings import Finding
from pipeline.cli import app
from pipeline.commands.check import check
from pipeline.config.data import FilesConfig
from pipeline.errors import DatasetError
from pipeline.manifest import read_manifest
from tests.conftest import Planted

WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
CONFIGS = Path(__file__).parents[2] / "configs"
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
    assert "\n6 errors" in done.stdout
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
    assert [case for case, _ in found(tmp_path, deep=False)] == ["empty", "scan"]
    assert found(tmp_path, deep=True) == [
        ("empty", "a NIfTI file"),
        ("nan", "finite values"),
        ("scan", "a MetaImage header that ends with ElementDataFile"),
    ]


def test_pictures_do_not_suit_a_model_of_scans(write_model: WriteModel, tmp_path: Path) -> None:
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(tmp_path / "a.png")
    (finding,) = check(tmp_path, read_manifest(write_model()), deep=True, console=QUIET)
    assert (finding.severity, finding.case) == ("error", "a")
    assert finding.expected == "a scan with a spacing in mm, as in training"
    assert check(tmp_path, read_manifest(write_model("pictures", unit="px")), deep=True, console=QUIET) == []


def test_scans_that_do_not_suit_a_model_are_errors(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 4, 4, 2), np.int16))
    (finding,) = check(path, read_manifest(write_model()), deep=False, console=QUIET)
    remedy = "Give the kind of scan that it was trained on."
    assert finding == Finding("error", "a", "1 channel, as the model threshold has", "2", remedy)


@pytest.mark.parametrize("deep", [False, True])
def test_a_geometry_that_had_to_be_repaired_is_told_once_from_the_header(
    write_model: WriteModel, tmp_path: Path, deep: bool
) -> None:
    image = nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), None)
    image.header.set_sform(np.diag([-1.0, -1, 1, 1]), 2)
    image.header["pixdim"][1:4] = (2, 2, 5)
    image.header["qform_code"] = 0
    image.to_filename(tmp_path / "a.nii")
    (finding,) = check(tmp_path / "a.nii", read_manifest(write_model()), deep=deep, console=QUIET)
    assert (finding.severity, finding.case) == ("warning", "a")
    assert finding.found == "geometry repaired: the spacing is that of pixdim, since the sform gives none"


def test_a_data_set_is_held_against_a_model_case_by_case(
    dataset: Path, write_model: WriteModel, write_volume: WriteVolume
) -> None:
    write_volume(dataset / "imagesTr" / "a.nii.gz", np.stack([_ball(1), _ball(2)], -1))
    (dataset / "labelsTr" / "b.nii.gz").write_bytes(b"")
    write_volume(dataset / "labelsTr" / "c.nii.gz", _ball(2).astype(np.uint8))
    (dataset / "dataset.json").write_text(json.dumps({"labels": {"organ": 1, "cyst": 2}, "modality": {"0": "CT"}}))
    shown = Console(record=True, quiet=True)
    findings = check(dataset, read_manifest(write_model()), deep=True, console=shown)
    assert [(finding.case, finding.expected, finding.found) for finding in findings] == [
        ("", "the model's labels (organ=1, lesion=4)", f"organ=1, cyst=2 in {dataset / 'dataset.json'}"),
        ("a", "1 channel, as the model threshold has", "2"),
        ("c", "the label values 0, 1, 4", "also 2"),
        ("b", "a NIfTI file", "0 bytes"),
        ("", "the label lesion (value 4) in some mask", "it in none of the 5 that were read"),
    ]


@pytest.mark.parametrize("deep", [False, True])
def test_the_scans_that_a_model_can_be_run_on_are_counted(
    dataset: Path, write_model: WriteModel, write_volume: WriteVolume, deep: bool
) -> None:
    write_volume(dataset / "imagesTr" / "a.nii.gz", np.stack([_ball(1), _ball(2)], -1))
    (dataset / "imagesTr" / "b.nii.gz").write_bytes(b"")
    (dataset / "labelsTr" / "c.nii.gz").write_bytes(b"")  # its scan is sound
    done = CliRunner().invoke(app, ["check", str(dataset), "--model", str(write_model()), *["--deep"][: int(deep)]])
    assert done.exit_code == 2
    assert "The model threshold can be run on 4 of 6 scans." in done.stderr
    scans = CliRunner().invoke(app, ["check", str(dataset / "imagesTr"), "--model", str(write_model())])
    assert "The model threshold can be run on 4 of 6 scans." in scans.stderr


def test_a_folder_is_a_data_set_for_check_where_it_is_one_for_training(
    dataset: Path, write_volume: WriteVolume, tmp_path: Path
) -> None:
    (dataset / "dataset.json").unlink()
    (dataset / "labelsTr" / "a.nii.gz").unlink()
    assert found(dataset, deep=False) == [("a", "a mask for every image")]
    write_volume(tmp_path / "scans" / "images" / "a.nii.gz", _ball(1))  # without masks beside it
    assert found(tmp_path / "scans", deep=False) == []


def test_new_scans_arranged_as_the_models_data_set_need_no_masks(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    manifest = read_manifest(write_model())
    files = FilesConfig(images=("{case}/scan.nii.gz",), masks=("{case}/seg.nii.gz",))
    own = manifest.model_copy(update={"files": files})
    write_volume(tmp_path / "p1" / "scan.nii.gz", _ball(1))
    assert check(tmp_path, own, deep=True, console=QUIET) == []
    write_volume(tmp_path / "p2" / "seg.nii.gz", _ball(1).astype(np.uint8))
    findings = check(tmp_path, own, deep=True, console=QUIET)
    assert {(each.case, each.expected) for each in findings if each.severity == "error"} == {
        ("", "an image with a mask, at least one"),
        ("p1", "a mask for every image"),
        ("p2", "an image for every mask"),
    }


def test_a_configuration_beside_a_model_keeps_its_labels_of_a_file_each(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    write_volume(tmp_path / "set" / "a.nii.gz", _ball(1))
    mask = (_ball(1) > 0).astype(np.uint8)
    write_volume(tmp_path / "set" / "a_organ.nii.gz", mask)
    write_volume(tmp_path / "set" / "a_lesion.nii.gz", np.zeros_like(mask))
    config = tmp_path / "mine.yaml"
    config.write_text(
        "name: mine\ndata:\n  root: set\n  labels: {organ: 1, lesion: 4}\n  modalities: [CT]\n"
        '  files: {images: ["{case}.nii.gz"], masks: ["{case}_organ.nii.gz", "{case}_lesion.nii.gz"]}\n'
    )
    findings = check(config, read_manifest(write_model()), deep=True, console=QUIET)
    assert [each.expected for each in findings] == ["the label lesion (value 4) in some mask"]


def test_a_path_with_nothing_to_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a scan or a folder of scans; found nothing at"):
        check(tmp_path / "none", None, deep=False, console=QUIET)


def test_the_files_planted_into_the_hippocampus_are_found(planted: Planted) -> None:
    assert set(found(planted.root, deep=False)) == planted.faults


def _pictures(root: Path, mask: np.ndarray) -> Path:
    for name in "abc":
        for folder, pixels in {"images": mask // 2, "masks": mask}.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels + (folder == "images") * np.uint8(ord(name))).save(root / folder / f"{name}.png")
    return root


@pytest.mark.parametrize("top", [255, 200])
def test_pictures_of_one_structure_are_one_problem_with_the_setting_that_solves_it(tmp_path: Path, top: int) -> None:
    masks = np.arange(256, dtype=np.uint8).reshape(16, 16)
    root = _pictures(tmp_path / "set", np.where(masks > 127, top, 0).astype(np.uint8))
    (root / "dataset.json").write_text(json.dumps({"labels": {"cell": 1}, "modality": {"0": "grey"}}))
    findings = [each for each in check(root, None, deep=True, console=QUIET) if each.severity == "error"]
    assert [each.case for each in findings] == ["a", "b", "c"]
    assert len({(each.expected, each.found) for each in findings}) == 1
    assert ("data.mask.threshold" in findings[0].remedy) == (top == 255)  # 200 may be a label that nobody named


def test_pictures_are_an_error_for_a_network_of_volumes_and_the_rest_is_told_too(tmp_path: Path) -> None:
    _pictures(tmp_path / "set", np.eye(16, dtype=np.uint8))
    for name in ("demo", "cells"):
        settings = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        settings["data"] |= {"root": "set", "labels": {"cell": 1}, "modalities": ["grey"], "mask": {}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    several = "scans of several slices, for a network of volumes (network.dimensions=3)"
    assert found(tmp_path / "cells.yaml", deep=False) == []
    assert found(tmp_path / "demo.yaml", deep=False) == [(case, several) for case in "abc"]
    (tmp_path / "set" / "masks" / "b.png").unlink()
    assert found(tmp_path / "demo.yaml", deep=False) == [
        ("a", several),
        ("b", "a mask for every image"),
        ("c", several),
    ]


def test_a_scan_of_one_slice_among_volumes_is_named_with_what_to_do(tmp_path: Path, write_volume: WriteVolume) -> None:
    for index, name in enumerate("abc"):
        shape = (8, 8, 1 if name == "b" else 8)
        write_volume(tmp_path / "set" / "images" / f"{name}.nii", np.full(shape, 10 + index, np.int16))
        write_volume(tmp_path / "set" / "masks" / f"{name}.nii", np.ones(shape, np.uint8))
    settings = yaml.safe_load((CONFIGS / "demo.yaml").read_text())
    settings["data"] |= {"root": "set", "labels": {"cell": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    (finding,) = [
        each for each in check(tmp_path / "mine.yaml", None, deep=False, console=QUIET) if each.severity == "error"
    ]
    assert (finding.case, finding.found) == ("b", "one slice")
    assert finding.remedy.startswith("Leave them out")
