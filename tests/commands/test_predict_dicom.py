"""`predict` on DICOM: a series in; a mask in NIfTI and as DICOM's own segmentation out."""

import csv
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.check import check
from pipeline.commands.predict import Options, Predictions, predict
from pipeline.formats.itk import LPS_TO_RAS
from pipeline.model import load_model
from tests.conftest import RealData, WriteModel
from tests.formats.dicom_files import write_slice

QUIET = Console(quiet=True)
PATIENT = {"PatientName": "Doe^Jane", "PatientID": "4711", "PatientBirthDate": "19700101"}


def _image() -> NDArray[np.int16]:
    """Rows, columns and slices; an organ at 10, of which a part is a lesion at 200. Nothing of it is symmetric."""
    image = np.zeros((7, 6, 5), np.int16)
    image[2:5, 1:3, 1:4] = 10
    image[2, 2, 1:3] = 200
    return image


def write_series(folder: Path, **elements: object) -> Path:
    """An oblique series whose file names sort otherwise than the places of its slices."""
    normal = np.cross([0, 0.8, 0.6], [1, 0, 0])
    for index in range(5):
        place = np.array([10, -20, 30]) + 2.5 * index * normal
        write_slice(
            folder / f"IM{9 - index}",
            _image()[:, :, index],
            place.tolist(),
            ImageOrientationPatient=[0, 0.8, 0.6, 1, 0, 0],
            **(PATIENT | elements),
        )
    return folder


def run(model: Path, source: Path, output: Path) -> Predictions:
    loaded = load_model(model)
    return predict(loaded, source, output, config=loaded.manifest.inference, console=QUIET)


def foreground(affine: NDArray, numbers: NDArray) -> set[tuple[float, ...]]:
    """Where each voxel that is not background lies in the patient (RAS mm), and its number."""
    places = np.argwhere(numbers)
    positions = (affine @ np.column_stack([places, np.ones(len(places))]).T)[:3].T
    values = numbers[tuple(places.T)]
    return {(*row, float(value)) for row, value in zip(np.round(positions, 2) + 0.0, values, strict=True)}


def of_nifti(path: Path, values: Sequence[int]) -> set[tuple[float, ...]]:
    """As `foreground`, of a mask with these values, each of which becomes its place in the list."""
    image = nibabel.Nifti1Image.from_filename(path)
    mask = np.asarray(image.dataobj)
    return foreground(image.affine, np.select([mask == value for value in values], range(1, len(values) + 1), 0))


def of_segmentation(path: Path) -> set[tuple[float, ...]]:
    """As `foreground`, of a DICOM SEG as highdicom reads it."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    return foreground(LPS_TO_RAS @ volume.affine, np.asarray(volume.array))


def test_a_series_gets_its_mask_as_nifti_and_as_segmentation(write_model: WriteModel, tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "ct")
    result = run(write_model(), tmp_path / "in", tmp_path / "out")
    (row,) = result.rows
    assert (row["status"], row["action"], row["input"]) == ("ok", "done", "ct (5 files)")
    folder = tmp_path / "out" / row["case"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "mask.dcm",
        "mask.nii.gz",
        "preview.png",
        "statistics.json",
        "viewer.html",
    ]
    expected = of_nifti(folder / "mask.nii.gz", (1, 4))
    assert len(expected) == 18
    assert of_segmentation(folder / "mask.dcm") == expected
    # 18 voxels of 0.5 x 0.75 x 2.5 mm, of which 2 are lesion
    assert (row["organ_ml"], row["lesion_ml"]) == pytest.approx((16 * 0.9375e-3, 2 * 0.9375e-3))


def test_a_zip_file_of_scans_is_a_folder_of_scans(
    write_model: WriteModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    write_series(tmp_path / "study" / "ct")
    nibabel.Nifti1Image(_image(), np.eye(4)).to_filename(tmp_path / "study" / "a.nii.gz")
    (tmp_path / "in").mkdir()
    shutil.make_archive(str(tmp_path / "in" / "export"), "zip", tmp_path / "study")
    model = write_model()
    rows = run(model, tmp_path / "in", tmp_path / "out").rows
    assert [(row["input"], row["status"], row["action"]) for row in rows] == [
        ("export.zip/a.nii.gz", "ok", "done"),
        ("export.zip/ct (5 files)", "ok", "done"),
    ]
    assert (tmp_path / "out" / "export.zip__a" / "mask.nii.gz").exists()
    assert [row["action"] for row in run(model, tmp_path / "in", tmp_path / "out").rows] == ["kept", "kept"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_rerun_keeps_the_case_and_another_slice_makes_it_anew(write_model: WriteModel, tmp_path: Path) -> None:
    model = write_model()
    write_series(tmp_path / "in" / "ct")
    run(model, tmp_path / "in", tmp_path / "out")
    (row,) = run(model, tmp_path / "in", tmp_path / "out").rows
    assert row["action"] == "kept"
    before = (tmp_path / "out" / row["case"] / "mask.dcm").read_bytes()
    run(model, tmp_path / "in", tmp_path / "again")
    assert (tmp_path / "again" / row["case"] / "mask.dcm").read_bytes() == before
    path = tmp_path / "in" / "ct" / "IM9"
    dataset = dcmread(path)
    dataset.PixelData = (dataset.pixel_array + np.int16(7)).tobytes()
    dataset.save_as(path)
    (row,) = run(model, tmp_path / "in", tmp_path / "out").rows
    assert row["action"] == "done"
    assert (tmp_path / "out" / row["case"] / "mask.dcm").read_bytes() != before


def test_a_series_beside_a_damaged_file_is_to_be_reviewed(write_model: WriteModel, tmp_path: Path) -> None:
    last = write_series(tmp_path / "in" / "ct") / "IM5"
    last.write_bytes(last.read_bytes()[:200])
    model = write_model()
    for action in ("done", "kept"):
        result = run(model, tmp_path / "in", tmp_path / "out")
        ct, file = sorted(result.rows, key=lambda row: row["status"], reverse=True)
        assert (ct["status"], ct["action"], file["status"], result.failed) == ("review", action, "failed", 1)
        assert ct["reason"].startswith("ct/IM5 cannot be read, and may be a slice of it; organ: touches the border")
        assert (tmp_path / "out" / ct["case"] / "mask.dcm").exists()


def test_a_segmentation_that_cannot_be_made_costs_the_case_no_other_file_and_names_nobody(
    write_model: WriteModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "ct")

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Doe^Jane is no name")

    monkeypatch.setattr(highdicom.seg, "Segmentation", refuse)
    (row,) = run(write_model(), tmp_path / "ct", tmp_path / "out").rows
    for _ in range(2):  # as it was done, and as it is kept
        assert (row["status"], "Doe" in row["reason"]) == ("review", False)
        assert re.match(r"no mask\.dcm: .* highdicom refuses \(ValueError\)", row["reason"])
        files = {path.name for path in (tmp_path / "out" / row["case"]).iterdir()}
        assert files == {"mask.nii.gz", "preview.png", "statistics.json", "viewer.html"}
        (row,) = run(tmp_path / "model", tmp_path / "ct", tmp_path / "out").rows
    assert row["action"] == "kept"


def test_nothing_but_the_segmentation_names_the_patient(write_model: WriteModel, tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "ct")
    run(write_model(), tmp_path / "in", tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            named = any(value.encode() in content for value in PATIENT.values())
            assert named == (path.name == "mask.dcm"), path


def test_the_segments_have_the_codes_of_the_model(write_model: WriteModel, tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    model = load_model(write_model())
    codes = {"organ": ("SCT", "10200004", "Liver"), "lesion": ("SCT", "108369006", "Neoplasm")}
    categories = {"lesion": ("SCT", "49755003", "Morphologically Abnormal Structure")}
    manifest = model.manifest.model_copy(update={"codes": codes, "categories": categories})
    model = type(model)(manifest, model.network)
    (row,) = predict(model, tmp_path / "ct", tmp_path / "out", config=manifest.inference, console=QUIET).rows
    organ, lesion = dcmread(tmp_path / "out" / row["case"] / "mask.dcm").SegmentSequence
    assert [organ.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for organ in (organ, lesion)] == [
        "Liver",
        "Neoplasm",
    ]
    assert organ.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert lesion.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Morphologically Abnormal Structure"


def test_check_says_what_series_there_are_and_what_is_wrong_with_them(write_model: WriteModel, tmp_path: Path) -> None:
    write_series(tmp_path / "good")
    write_series(tmp_path / "bad", SeriesInstanceUID="1.2.3")
    (tmp_path / "bad" / "IM7").unlink()
    (finding,) = check(tmp_path, None, deep=True, console=QUIET)
    assert (finding.expected, finding.severity, finding.file) == ("a slice every 2.5 mm", "error", "bad (4 files)")
    (tmp_path / "good" / "IM4").touch()
    assert [each.found for each in check(tmp_path / "good", None, deep=True, console=QUIET)] == [
        "IM4 cannot be read, and may be a slice of it"
    ]
    (tmp_path / "good" / "study").mkdir()
    write_series(tmp_path / "good" / "study", SeriesInstanceUID="1.2.4")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "good")])
    assert "convert the series to NIfTI" in done.output
    done = CliRunner().invoke(app, ["check", str(tmp_path / "good"), "--model", str(write_model())])
    assert "can be run on 2 of 2 scans" in done.output


@pytest.mark.parametrize("study", ["Study1", "Study2", "Study3"])
def test_real_series_and_the_same_scans_as_nifti_give_the_same_masks(
    study: str, write_model: WriteModel, real_data: RealData, tmp_path: Path
) -> None:
    folder = next((real_data("dicom") / study).glob("*_HCropVolume"))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.WriteImage(reader.Execute(), tmp_path / "scan.nii.gz")
    model = write_model(lesion=250.0)
    (series,) = run(model, folder, tmp_path / "out").rows
    (scan,) = run(model, tmp_path / "scan.nii.gz", tmp_path / "nifti").rows
    converted = of_nifti(tmp_path / "nifti" / scan["case"] / "mask.nii.gz", (1, 4))
    assert len(converted) > 1000
    for path, read in (("mask.nii.gz", lambda path: of_nifti(path, (1, 4))), ("mask.dcm", of_segmentation)):
        found = read(tmp_path / "out" / series["case"] / path)
        assert len(found) == len(converted)
        assert len(found ^ converted) < 0.01 * len(found), path  # positions that were rounded to another hundredth


def test_the_table_names_patients_where_that_is_asked_for_and_nothing_else_does(
    write_model: WriteModel, tmp_path: Path
) -> None:
    write_series(tmp_path / "in" / "ct", SeriesDescription="=cmd()")
    loaded = load_model(write_model())
    for _ in range(2):  # as it is done, and as it is kept
        predict(
            loaded,
            tmp_path / "in",
            tmp_path / "out",
            config=loaded.manifest.inference,
            console=QUIET,
            options=Options(identity=True),
        )
        (row,) = csv.DictReader((tmp_path / "out" / "cases.csv").read_text().splitlines())
        assert (row["patient_name"], row["patient_id"]) == ("Doe^Jane", PATIENT["PatientID"])
        assert row["series_description"] == "'=cmd()"
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        named = b"Doe" in path.read_bytes()
        assert named == (path.name in {"cases.csv", "mask.dcm"}), path
    run(tmp_path / "model", tmp_path / "in", tmp_path / "out")
    assert "Doe" not in (tmp_path / "out" / "cases.csv").read_text()
