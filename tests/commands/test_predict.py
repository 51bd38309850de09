"""`predict` as its users meet it: a folder in, a folder out, whatever the files are."""

import csv
import gzip
import importlib
import io
import json
import os
import re
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from pipeline.commands import prediction_files, prediction_record, prediction_run, prediction_worklist
from pipeline.commands.predict import Options, Predictions, predict
from pipeline.commands.preflight import preflight
from pipeline.config.inference import InferenceConfig, WatershedConfig
from pipeline.errors import ConfigError, DatasetError, ModelError, OutputError
from pipeline.figures import write_preview
from pipeline.files import file_sha256
from pipeline.inference import predictor
from pipeline.inference.predictor import Masked, Predictor
from pipeline.model import load_model
from tests.formats import references

RealData = Callable[[str], Path]
WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
QUIET = Console(quiet=True)
COLUMNS = ["case", "input", "status", "action", "reason", "seconds", "organ_ml", "lesion_ml"]


def _image() -> NDArray[np.int16]:
    """An organ of 2 x 3 x 4 voxels at 10, of which 1 x 3 x 1 are a lesion at 200."""
    image = np.zeros((6, 7, 8), np.int16)
    image[1:3, 2:5, 3:7] = 10
    image[2, 2:5, 6] = 200
    return image


def run(model: Path, source: Path, output: Path, *, overwrite: bool = False, **settings: Any) -> Predictions:
    loaded = load_model(model)
    config = loaded.manifest.inference.model_copy(update=settings)
    return predict(loaded, source, output, config=config, console=QUIET, options=Options(overwrite=overwrite))


def table(output: Path) -> dict[str, dict[str, str]]:
    """The rows of cases.csv by case; two rows of one case are an error."""
    with (output / "cases.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["input"] for row in rows}) == len(rows)
    return {row["case"]: row for row in rows}


def load(path: Path) -> nibabel.Nifti1Image:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    return image


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- What is written


def test_each_case_gets_a_mask_statistics_and_a_picture_and_the_folder_a_table_a_report_and_a_manifest(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    write_volume(tmp_path / "in" / "a.nii.gz", _image())
    write_volume(tmp_path / "in" / "b.nii", _image())
    run(write_model(), tmp_path / "in", tmp_path / "out")
    assert files_below(tmp_path / "out") == [
        "a/mask.nii.gz",
        "a/preview.png",
        "a/statistics.json",
        "a/viewer.html",
        "b/mask.nii",
        "b/preview.png",
        "b/statistics.json",
        "b/viewer.html",
        "cases.csv",
        "manifest.json",
        "medseg.log",
        "report.html",
        "status.json",
    ]
    with Image.open(tmp_path / "out" / "a" / "preview.png") as picture:
        assert min(picture.size) > 100
        assert len(set(picture.convert("L").get_flattened_data())) > 2


def test_the_table_has_a_row_a_file_with_volumes_in_ml(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    write_volume(tmp_path / "in" / "a.nii.gz", _image(), spacing_mm=10.0)
    (tmp_path / "in" / "notes.txt").write_text("none")
    result = run(write_model(), tmp_path / "in", tmp_path / "out")
    rows = table(tmp_path / "out")
    assert list(rows["a"]) == COLUMNS
    assert (rows["a"]["status"], rows["a"]["action"], rows["a"]["reason"]) == ("ok", "done", "")
    assert rows["a"]["input"] == "a.nii.gz"
    # 24 voxels of 1 ml, 3 of which are lesion
    assert (float(rows["a"]["organ_ml"]), float(rows["a"]["lesion_ml"])) == (21.0, 3.0)
    assert (rows["notes.txt"]["status"], rows["notes.txt"]["reason"]) == ("skipped", "not a scan")
    assert (result.done, result.failed) == (1, 0)


def test_the_statistics_are_those_worked_out_by_hand(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    write_volume(tmp_path / "in" / "a.nii.gz", _image(), spacing_mm=2.0)
    run(write_model(), tmp_path / "in", tmp_path / "out")
    statistics = json.loads((tmp_path / "out" / "a" / "statistics.json").read_text())
    assert statistics["lesion"] == {
        "volume_ml": pytest.approx(3 * 0.008),
        "voxels": 3,
        "centroid_mm": [4.0, 6.0, 12.0],  # voxel (2, 3, 6)
        "bbox_voxels": [[2, 2], [2, 4], [6, 6]],
        "parts": 1,
        "mean_intensity": 200.0,
        "touches_border": False,
    }
    assert statistics["organ"]["voxels"] == 21
    assert statistics["organ"]["bbox_voxels"] == [[1, 2], [2, 4], [3, 6]]


def test_a_structure_that_is_not_there_has_nulls_with_a_reason_and_a_row_with_zero(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    write_volume(tmp_path / "in" / "a.nii.gz", np.minimum(_image(), 10))
    run(write_model(), tmp_path / "in", tmp_path / "out")
    lesion = json.loads((tmp_path / "out" / "a" / "statistics.json").read_text())["lesion"]
    assert lesion == {
        "volume_ml": 0.0,
        "voxels": 0,
        "centroid_mm": None,
        "bbox_voxels": None,
        "parts": None,
        "mean_intensity": None,
        "touches_border": None,
        "reason": "the structure was not found in this scan",
    }
    assert float(table(tmp_path / "out")["a"]["lesion_ml"]) == 0.0


def test_the_manifest_names_the_model_the_settings_and_the_inputs(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    model = write_model()
    run(model, tmp_path / "in", tmp_path / "out", overlap=0.25)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["model_weights_sha256"] == file_sha256(model / "weights.safetensors")
    assert manifest["inference"]["overlap"] == 0.25
    assert manifest["labels"] == {"organ": 1, "lesion": 4}
    assert manifest["model_sha256"] == file_sha256(model / "model.json")
    case = manifest["cases"].pop("a")
    assert manifest["cases"] == {}
    assert (case["input_sha256"], case["device"], case["precision"]) == (file_sha256(path), "cpu", "fp32")
    assert case["backend"] == "torch"
    files = ("mask.nii.gz", "statistics.json", "preview.png", "viewer.html")
    assert case["files_sha256"] == {name: file_sha256(tmp_path / "out" / "a" / name) for name in files}


def test_openvino_writes_the_same_masks_and_the_manifest_says_that_it_ran(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path, found = write_volume(tmp_path / "scans" / "a.nii.gz", _image()), {}
    for backend in ("torch", "openvino"):
        run(write_model(), path.parent, tmp_path / backend, backend=backend)
        case = json.loads((tmp_path / backend / "manifest.json").read_text())["cases"]["a"]
        assert case["backend"] == backend
        found[backend] = np.asarray(load(tmp_path / backend / "a" / "mask.nii.gz").dataobj)
    assert np.array_equal(found["torch"], found["openvino"])
    assert set(np.unique(found["openvino"])) == {0, 1, 4}


def test_a_case_is_named_after_its_path_below_the_input(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    for name in ("a.nii.gz", "x/a.nii", "x/y/a.NII.GZ", ".hidden/b.nii", "x/.b.nii"):
        write_volume(tmp_path / "in" / name.lower(), _image()).rename(tmp_path / "in" / name)
    rows = run(write_model(), tmp_path / "in", tmp_path / "out").rows
    assert [row["case"] for row in rows] == ["a", "x__a", "x__y__a"]
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert (tmp_path / "out" / "x__y__a" / "mask.nii.gz").exists()


def test_a_single_file_is_a_case_of_its_own_name(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    write_volume(tmp_path / "in" / "b.nii.gz", _image())
    assert [row["case"] for row in run(write_model(), path, tmp_path / "out").rows] == ["a"]


def test_two_files_of_one_case_both_fail_and_neither_is_written(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    for name in ("a.nii.gz", "a.nii", "x__b.nii", "x/b.nii", "c.nii"):
        write_volume(tmp_path / "in" / name, _image())
    result = run(write_model(), tmp_path / "in", tmp_path / "out")
    reasons = [(row["case"], row["status"], row["reason"]) for row in result.rows]
    clash = "Expected one file a case; found a.nii and a.nii.gz. Rename one of them."
    assert reasons[:2] == [("a", "failed", clash)] * 2
    assert [(case, status) for case, status, _ in reasons[2:]] == [
        ("c", "ok"),
        ("x__b", "failed"),
        ("x__b", "failed"),
    ]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["c"]


def test_a_case_that_can_no_longer_be_told_from_another_keeps_no_older_mask(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(model, tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "mask.nii.gz").exists()
    write_volume(tmp_path / "in" / "a.nii", _image())
    run(model, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out" / "a").exists()


def test_no_text_of_a_header_is_in_any_file_that_is_written(write_model: WriteModel, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = nibabel.Nifti1Image(_image(), np.eye(4))
    for name in ("descrip", "aux_file", "db_name"):
        image.header[name] = b"DOE^JOHN"
    image.header["intent_name"] = b"DOE^JOHN"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"DOE^JOHN"))
    for name in ("a.nii", "b.nii.gz"):
        image.to_filename(tmp_path / "in" / name)
    assert b"DOE^JOHN" in (tmp_path / "in" / "a.nii").read_bytes()
    run(write_model(), tmp_path / "in", tmp_path / "out")
    names = files_below(tmp_path / "out")
    assert len(names) == 13
    for name in names:
        content = (tmp_path / "out" / name).read_bytes()
        assert b"DOE" not in (gzip.decompress(content) if name.endswith(".gz") else content), name


# --- Formats


def _picture() -> NDArray[np.uint8]:
    """Seven rows and nine columns: an organ of 3 rows and 4 columns at 10, of which one pixel is a lesion at 200."""
    picture = np.zeros((7, 9), np.uint8)
    picture[2:5, 3:7] = 10
    picture[4, 6] = 200
    return picture


def test_pictures_get_masks_in_their_own_format_or_in_png_and_a_table_of_pixels(
    write_model: WriteModel, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for ending in ("png", "tif", "gif", "bmp"):
        Image.fromarray(_picture()).save(tmp_path / "in" / f"{ending}.{ending}")
    expected = np.where(_picture() > 100, 4, _picture() > 0)
    run(write_model(unit="px"), tmp_path / "in", tmp_path / "out")
    rows = table(tmp_path / "out")
    assert list(rows["png"]) == [*COLUMNS[:6], "organ_px", "lesion_px"]
    for case, mask in {"png": "mask.png", "tif": "mask.tif", "gif": "mask.png", "bmp": "mask.png"}.items():
        assert files_below(tmp_path / "out" / case) == sorted([mask, "preview.png", "statistics.json", "viewer.html"])
        with Image.open(tmp_path / "out" / case / mask) as image:
            np.testing.assert_array_equal(np.asarray(image), expected, err_msg=case)
        assert (rows[case]["status"], rows[case]["organ_px"], rows[case]["lesion_px"]) == ("ok", "11", "1")
    statistics = json.loads((tmp_path / "out" / "png" / "statistics.json").read_text())["lesion"]
    assert (statistics["volume_ml"], statistics["reason"]) == (None, "the scan has no spacing")
    assert statistics["bbox_voxels"] == [[6, 6], [4, 4], [0, 0]]
    assert "11&nbsp;px" in (tmp_path / "out" / "report.html").read_text()
    kept = run(tmp_path / "model", tmp_path / "in", tmp_path / "out")
    assert [(row["action"], row["organ_px"]) for row in kept.rows] == [("kept", 11)] * 4


def test_a_model_of_scans_takes_no_picture_and_one_of_pictures_no_scan(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    write_volume(tmp_path / "in" / "scan.nii.gz", _image())
    Image.fromarray(_picture()).save(tmp_path / "in" / "picture.png")
    run(write_model(), tmp_path / "in", tmp_path / "out")
    picture = ("failed", "a scan with a spacing in mm, as in training; found a picture without a spacing")
    _check_rows(tmp_path / "out", {"scan": ("ok", "^$"), "picture": picture})
    run(write_model("other", unit="px"), tmp_path / "in", tmp_path / "out", overwrite=True)
    rows = table(tmp_path / "out")
    assert {case: row["status"] for case, row in rows.items()} == {"picture": "ok", "scan": "failed"}
    assert not (tmp_path / "out" / "scan").exists()


@pytest.mark.parametrize("ending", ["nrrd", "mha", "mgz"])
def test_other_volumes_get_masks_in_their_own_format(write_model: WriteModel, tmp_path: Path, ending: str) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"a.{ending}"
    if ending == "mgz":
        nibabel.MGHImage(_image(), np.diag([-10.0, -10, 10, 1])).to_filename(path)
    else:
        image = SimpleITK.GetImageFromArray(_image().T)
        image.SetSpacing((10, 10, 10))
        SimpleITK.WriteImage(image, str(path))
    run(write_model(), tmp_path / "in", tmp_path / "out")
    values, affine = _second_reader(tmp_path / "out" / "a" / f"mask.{ending}")
    np.testing.assert_array_equal(values[0], np.where(_image() > 100, 4, _image() > 0))
    assert affine is not None
    np.testing.assert_allclose(affine, np.diag([-10, -10, 10, 1]))
    assert float(table(tmp_path / "out")["a"]["organ_ml"]) == 21.0


def test_a_scan_in_two_files_is_done_again_where_either_changes(write_model: WriteModel, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    nibabel.Nifti1Pair(_image(), np.eye(4)).to_filename(tmp_path / "in" / "a.hdr")
    model = write_model()
    assert [row["status"] for row in run(model, tmp_path / "in", tmp_path / "out").rows] == ["ok", "skipped"]
    assert table(tmp_path / "out")["a.img"]["reason"] == "a part of a.hdr"
    assert run(model, tmp_path / "in", tmp_path / "out").rows[0]["action"] == "kept"
    voxels = bytearray((tmp_path / "in" / "a.img").read_bytes())
    voxels[0] = 10
    (tmp_path / "in" / "a.img").write_bytes(voxels)
    assert run(model, tmp_path / "in", tmp_path / "out").rows[0]["action"] == "done"
    assert load(tmp_path / "out" / "a" / "mask.nii.gz").get_fdata()[0, 0, 0] == 1


# --- Again into the same folder


def test_a_second_run_keeps_what_is_there_and_does_what_is_new(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    write_volume(tmp_path / "in" / "a.nii.gz", _image(), spacing_mm=10.0)
    run(model, tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "a" / "mask.nii.gz").stat().st_mtime_ns
    write_volume(tmp_path / "in" / "b.nii.gz", _image())
    result = run(model, tmp_path / "in", tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [(row["status"], row["action"]) for row in rows.values()] == [("ok", "kept"), ("ok", "done")]
    assert float(rows["a"]["lesion_ml"]) == 3.0
    assert (tmp_path / "out" / "a" / "mask.nii.gz").stat().st_mtime_ns == before
    assert (result.done, result.failed) == (2, 0)


def test_overwriting_does_every_case_again(write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path) -> None:
    model = write_model()
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(model, path, tmp_path / "out")
    write_volume(path, np.minimum(_image(), 10))
    run(model, path, tmp_path / "out", overwrite=True)
    assert table(tmp_path / "out")["a"]["action"] == "done"
    assert json.loads((tmp_path / "out" / "a" / "statistics.json").read_text())["lesion"]["voxels"] == 0


def test_overwriting_with_a_scan_that_fails_leaves_no_older_result_behind(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(model, path, tmp_path / "out")
    path.write_bytes(path.read_bytes()[:60])
    assert run(model, path, tmp_path / "out", overwrite=True).failed == 1
    assert not (tmp_path / "out" / "a").exists()


def test_a_case_whose_statistics_are_missing_is_done_again(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(model, path, tmp_path / "out")
    (tmp_path / "out" / "a" / "statistics.json").unlink()
    assert run(model, path, tmp_path / "out").rows[0]["action"] == "done"


@pytest.mark.parametrize("change", ["settings", "model", "scan"])
def test_a_case_is_done_again_where_the_settings_the_model_or_the_scan_changed(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, change: str
) -> None:
    model, source = write_model(), tmp_path / "in"
    changed = write_volume(source / "a.nii.gz", _image())
    write_volume(source / "b.nii.gz", _image())
    run(model, source, tmp_path / "out")
    settings: dict[str, Any] = {"overlap": 0.5} if change == "settings" else {}
    if change == "model":
        model = write_model("other", lesion=9.5)
    if change == "scan":
        write_volume(changed, np.minimum(_image(), 10))
    result = run(model, source, tmp_path / "out", **settings)
    assert [row["action"] for row in result.rows] == ["done", "kept" if change == "scan" else "done"]


def test_a_case_of_another_version_is_done_again(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = write_model(), write_volume(tmp_path / "in" / "a.nii.gz", _image())
    with monkeypatch.context() as patch:
        patch.setattr(prediction_record, "__version__", "0.0.1")
        run(model, path, tmp_path / "out")
    assert run(model, path, tmp_path / "out").rows[0]["action"] == "done"
    assert run(model, path, tmp_path / "out").rows[0]["action"] == "kept"


def test_a_case_is_done_again_where_anything_in_the_models_manifest_changed(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model, path = write_model(), write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(model, path, tmp_path / "out")
    content = json.loads((model / "model.json").read_text())
    content["preprocessing"]["channels"][0]["high"] = 150.0  # the weights are the same
    (model / "model.json").write_text(json.dumps(content))
    assert run(model, path, tmp_path / "out").rows[0]["action"] == "done"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"organ": {"volume_ml": "none"}}'])
def test_a_case_whose_statistics_were_damaged_or_edited_is_done_again(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, content: str
) -> None:
    model = write_model()
    for name in "ab":
        write_volume(tmp_path / "in" / f"{name}.nii.gz", _image())
    run(model, tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out" / "a" / "statistics.json"
    before = path.read_text()
    path.write_text(content)
    assert [row["action"] for row in run(model, tmp_path / "in", tmp_path / "out").rows] == ["done", "kept"]
    assert path.read_text() == before


def test_a_run_on_other_scans_forgets_no_case_that_the_folder_holds(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    paths = [write_volume(tmp_path / "in" / f"{name}.nii.gz", _image()) for name in "ab"]
    for path in (*paths, *paths):
        last = run(model, path, tmp_path / "out")
    assert last.rows[0]["action"] == "kept"


def test_older_results_go_before_the_first_case_is_done(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write_volume(tmp_path / "in" / f"{name}.nii", _image())
    run(write_model(), tmp_path / "in", tmp_path / "out")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt("of a test")

    monkeypatch.setattr(Predictor, "mask", interrupt)
    with pytest.raises(KeyboardInterrupt, match="of a test"):
        run(write_model("other", lesion=9.5), tmp_path / "in", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["cases"] == {}
    assert [path for path in files_below(tmp_path / "out") if "/" in path] == []


def test_results_of_scans_that_are_not_in_the_input_stay_and_are_named(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = load_model(write_model())
    shown = io.StringIO()
    for name in "ab":
        write_volume(tmp_path / name / f"{name}.nii", _image())
        predict(
            model,
            tmp_path / name,
            tmp_path / "out",
            config=model.manifest.inference,
            console=Console(file=shown, width=300),
        )
    assert "out (a) of an earlier run were not seen in INPUT; they stay, and have no row." in shown.getvalue()
    assert (list(table(tmp_path / "out")), (tmp_path / "out" / "a" / "mask.nii").exists()) == (["b"], True)


def test_older_results_that_cannot_be_removed_fail_their_case_alone(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write_volume(tmp_path / "in" / f"{name}.nii", _image())
    run(write_model(), tmp_path / "in", tmp_path / "out")
    unlink = Path.unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if path.parent.name == "a":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    result = run(tmp_path / "model", tmp_path / "in", tmp_path / "out", overwrite=True)
    assert [row["status"] for row in result.rows] == ["failed", "ok"]
    assert re.search(r"found .*out/a, which cannot be emptied \(Permission denied\)", result.rows[0]["reason"])


def test_the_older_table_and_report_do_not_outlive_the_start_of_a_run(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_volume(tmp_path / "in" / "a.nii", _image())
    run(write_model(), path, tmp_path / "out")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt("of a test")

    monkeypatch.setattr(Predictor, "mask", interrupt)
    with pytest.raises(KeyboardInterrupt, match="of a test"):
        run(tmp_path / "model", path, tmp_path / "out", overwrite=True)
    row = table(tmp_path / "out")["a"]
    assert (row["status"], row["action"], "the run ended before its turn" in row["reason"]) == ("failed", "", True)
    assert "the run ended before its turn" in (tmp_path / "out" / "report.html").read_text()


def test_names_that_are_no_utf8_cost_nothing_and_their_cases_are_kept(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    write_volume(tmp_path / "in" / os.fsdecode(b"M\xfcller.nii"), _image())
    (tmp_path / "in" / os.fsdecode(b"notes \xfc.txt")).touch()
    (tmp_path / "in" / os.fsdecode(b"cut \xfc.nii")).touch()
    run(model, tmp_path / "in", tmp_path / "out")
    again = run(model, tmp_path / "in", tmp_path / "out")
    assert {row["case"]: (row["status"], row["action"]) for row in again.rows} == {
        "M%FCller": ("ok", "kept"),
        "cut %FC": ("failed", ""),
        "notes %FC.txt": ("skipped", ""),
    }
    assert (tmp_path / "out" / "M%FCller" / "mask.nii").is_file()


def test_what_looks_like_markup_in_a_message_is_shown_as_it_is(write_model: WriteModel, tmp_path: Path) -> None:
    model, shown = load_model(write_model()), io.StringIO()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "[red] a [b].nii").touch()
    console = Console(file=shown, width=300)
    predict(model, tmp_path / "in", tmp_path / "out", config=model.manifest.inference, console=console)
    assert "failed: [red] a [b]: Expected" in shown.getvalue()


def test_a_scan_that_would_not_fit_into_memory_fails_and_the_others_get_their_masks(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volume(tmp_path / "in" / "a.nii.gz", np.ones((380, 380, 380), np.uint8))
    write_volume(tmp_path / "in" / "b.nii.gz", _image())
    # a takes 0.22 GB whatever its size, 0.16 for its mask and 0.02 for sums of 9 x 380 x 380 voxels, 4 numbers each
    monkeypatch.setattr(predictor, "available_bytes", lambda: 260_000_000)
    result = run(write_model(), tmp_path / "in", tmp_path / "out")
    rows = table(tmp_path / "out")
    assert (result.done, result.failed) == (1, 1)
    assert rows["b"]["status"] == "ok"
    assert rows["a"]["reason"] == (
        "Expected a scan that fits into memory; found one that needs about 0.4 GB, where 0.3 GB are free. "
        "Take a machine with more memory, or crop the scan."
    )


def test_the_volume_of_a_small_structure_is_not_rounded_to_nothing(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "in" / "a.nii", _image(), spacing_mm=0.01)
    run(write_model(), path, tmp_path / "out")
    assert float(table(tmp_path / "out")["a"]["lesion_ml"]) == pytest.approx(3e-9)


# --- Into a folder with files of others


TAKEN = (
    r"^Expected a place for the results; found files in .*/out/a that medseg did not write, or a mask that was changed "
    r"since\. Choose another OUTPUT, or replace them with --overwrite\.$"
)


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.nii", "statistics.json", "preview.png", "viewer.html"])
def test_a_file_that_predict_did_not_write_fails_its_case_and_stays_but_for_overwrite(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, name: str
) -> None:
    model = write_model()
    for case in "ab":
        write_volume(tmp_path / "in" / f"{case}.nii.gz", _image())
    foreign = tmp_path / "out" / "a" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"drawn by hand")
    result = run(model, tmp_path / "in", tmp_path / "out")
    assert [row["status"] for row in result.rows] == ["failed", "ok"]
    assert re.search(TAKEN, result.rows[0]["reason"])
    assert files_below(tmp_path / "out" / "a") == [name]
    assert foreign.read_bytes() == b"drawn by hand"
    assert [row["status"] for row in run(model, tmp_path / "in", tmp_path / "out", overwrite=True).rows] == ["ok"] * 2
    assert files_below(tmp_path / "out" / "a") == ["mask.nii.gz", "preview.png", "statistics.json", "viewer.html"]
    assert [row["action"] for row in run(model, tmp_path / "in", tmp_path / "out").rows] == ["kept"] * 2


def test_a_mask_that_was_corrected_by_hand_is_not_replaced(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(model, path, tmp_path / "out")
    corrected = write_volume(tmp_path / "out" / "a" / "mask.nii.gz", np.ones((6, 7, 8), np.uint8)).read_bytes()
    for overlap in (0.0, 0.5):  # as it was, and where the case would be done again
        row = run(model, path, tmp_path / "out", overlap=overlap).rows[0]
        assert (row["status"], bool(re.search(TAKEN, row["reason"]))) == ("failed", True)
        assert (tmp_path / "out" / "a" / "mask.nii.gz").read_bytes() == corrected
    assert run(model, path, tmp_path / "out", overwrite=True).rows[0]["action"] == "done"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cases": {"a": 1}}', b'{"cases": {"a": {}}}', b"\xff"])
def test_without_a_record_that_can_be_read_nothing_is_taken_for_ours(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, content: bytes
) -> None:
    model = write_model()
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(model, path, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_bytes(content)
    assert re.search(TAKEN, run(model, path, tmp_path / "out").rows[0]["reason"])
    assert (tmp_path / "out" / "a" / "mask.nii.gz").exists()


def test_a_scan_that_cannot_be_read_takes_no_file_of_others_with_it(write_model: WriteModel, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nrrd").write_bytes(b"")
    foreign = tmp_path / "out" / "a" / "mask.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"drawn by hand")
    assert run(write_model(), tmp_path / "in", tmp_path / "out").failed == 1
    assert foreign.exists()


def test_a_file_where_the_folder_of_a_case_should_be_costs_its_own_row_alone(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    for case in "ab":
        write_volume(tmp_path / "in" / f"{case}.nii.gz", _image())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("notes")
    for overwrite in (False, True):
        result = run(write_model(), tmp_path / "in", tmp_path / "out", overwrite=overwrite)
        assert [row["status"] for row in result.rows] == ["failed", "ok"]
        assert (tmp_path / "out" / "a").read_text() == "notes"


def test_what_a_killed_run_left_half_written_is_done_again(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model()
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())

    def kill(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt("of a test")

    with monkeypatch.context() as patch:
        patch.setattr(prediction_files, "write_preview", kill)
        with pytest.raises(KeyboardInterrupt, match="of a test"):
            run(model, path, tmp_path / "out")
    assert (tmp_path / "out" / "a" / "mask.nii.gz").exists()
    assert run(model, path, tmp_path / "out").rows[0]["action"] == "done"


def test_a_plan_says_what_would_be_done(write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path) -> None:
    model = load_model(write_model())
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    run(tmp_path / "model", path, tmp_path / "out")
    write_volume(tmp_path / "in" / "b.nii.gz", _image())
    (tmp_path / "in" / "c.dcm").write_bytes(b"")
    before = files_below(tmp_path)

    def plan(*, overwrite: bool) -> list[tuple[str, str, str]]:
        inference = model.manifest.inference
        source, output = tmp_path / "in", tmp_path / "out"
        found = preflight(model.manifest, source, output, config=inference, overwrite=overwrite, console=QUIET)
        return [(each.item.entry.case, each.item.status, each.item.action) for each in found.inputs]

    assert plan(overwrite=False) == [("a", "ok", "kept"), ("b", "ok", "done"), ("c", "failed", "")]
    assert plan(overwrite=True) == [("a", "ok", "done"), ("b", "ok", "done"), ("c", "failed", "")]
    assert files_below(tmp_path) == before


# --- Damage


def _nan(image: NDArray) -> NDArray[np.float32]:
    damaged = image.astype(np.float32)
    damaged[0, 0, :3] = np.nan
    return damaged


def _damage(folder: Path, write_volume: WriteVolume) -> None:
    """A file for each row of DAMAGES, made from a good one."""
    good = write_volume(folder / "good.nii.gz", _image()).read_bytes()
    write_volume(folder / "last.nii.gz", _image())
    (folder / "cut_off.nii.gz").write_bytes(good[: len(good) // 2])
    (folder / "no_trailer.nii.gz").write_bytes(good[:-6])
    (folder / "flipped_bit.nii.gz").write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "bomb.nii.gz").write_bytes(_bomb(good))
    (folder / "nothing.nii").write_bytes(b"")
    (folder / "text.nii").write_text("a letter, not a scan " * 40)
    (folder / "picture.nii.gz").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(400))
    (folder / "gzip_as_nii.nii").write_bytes(good)
    (folder / "nii_as_gzip.nii.gz").write_bytes(gzip.decompress(good))
    (folder / "short.nii").write_bytes(gzip.decompress(good)[:-100])
    write_volume(folder / "nan.nii", _nan(_image()))
    write_volume(folder / "series.nii", np.stack([_image()] * 3, axis=-1))
    write_volume(folder / "five_axes.nii", np.zeros((4, 4, 4, 2, 2), np.int16))
    plain = bytearray(gzip.decompress(good))
    struct.pack_into("<hh", plain, 252, 1, 0)  # qform alone, so that pixdim is what spaces the voxels
    struct.pack_into("<3f", plain, 80, 0.0, 1.0, 1.0)
    (folder / "zero_spacing.nii").write_bytes(plain)
    struct.pack_into("<hh", plain, 252, 0, 0)
    (folder / "no_orientation.nii").write_bytes(plain)
    (folder / "dicom.dcm").write_bytes(bytes(128) + b"DICM")
    (folder / "nrrd.nrrd").write_text("NRRD0004")
    (folder / "readme.md").write_text("# Scans")
    (folder / "wrong_ending.nii.bak").write_bytes(gzip.decompress(good))


def _bomb(good: bytes) -> bytes:
    """A header that claims 10^12 voxels, and a few of them."""
    plain = bytearray(gzip.decompress(good))
    struct.pack_into("<3h", plain, 42, 10_000, 10_000, 10_000)
    return gzip.compress(bytes(plain))


DAMAGES = {
    "good": ("ok", "^$"),
    "last": ("ok", "^$"),
    "cut_off": ("failed", "found compressed data that is damaged or cut off"),
    "no_trailer": ("failed", "found compressed data that is damaged or cut off"),
    "flipped_bit": ("failed", "found compressed data that is damaged or cut off"),
    "bomb": ("failed", r"Expected a scan of at most 4e\+09 voxels, all channels counted; found 1e\+12"),
    "empty": ("failed", "found "),
    "nothing": ("failed", "found 0 bytes"),
    "text": ("failed", "found a file that does not begin with a NIfTI header"),
    "picture": ("failed", "Expected a whole PNG file; found one that is damaged or cut off"),
    "gzip_as_nii": ("ok", "^$"),
    "nii_as_gzip": ("ok", "^$"),
    "short": ("failed", "the file is cut off"),
    "nan": ("failed", "found NaN or infinity in 3 voxels"),
    "series": ("failed", "Expected a scan with 1 channel, as in training; found 3"),
    "five_axes": ("failed", "Expected a volume, or several on one grid"),
    "zero_spacing": ("failed", r"Expected a finite distance above zero .* \(pixdim 0, 1, 1\)"),
    "no_orientation": ("failed", "qform and sform codes of 0, so left and right are unknown"),
    "dicom": ("failed", "a whole DICOM file; found one that is damaged or cut off"),
    "nrrd": ("failed", "Expected a NRRD file; found one that does not begin with NRRD"),
    "readme.md": ("skipped", "^not a scan$"),
    "wrong_ending.nii.bak": ("skipped", "^not a scan$"),
}


DONE = ("ok", "review")


def _check_rows(output: Path, expected: dict[str, tuple[str, str]]) -> None:
    """Every file has the row that is expected, and only those that are ok or to be reviewed have a folder."""
    rows = table(output)
    assert sorted(rows) == sorted(expected)
    for case, (status, reason) in expected.items():
        assert rows[case]["status"] == status, (case, rows[case])
        assert re.search(reason, rows[case]["reason"]), (case, rows[case]["reason"])
        assert bool(rows[case]["organ_ml"]) == (status in DONE), case
    folders = sorted(path.name for path in output.iterdir() if path.is_dir())
    assert folders == sorted(case for case, (status, _) in expected.items() if status in DONE)
    assert not [name for name in files_below(output) if ".partial-" in name]


def test_each_damage_is_a_row_with_its_reason_and_leaves_no_file_that_looks_like_a_result(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    _damage(tmp_path / "in", write_volume)
    result = run(write_model(), tmp_path / "in", tmp_path / "out")
    _check_rows(tmp_path / "out", DAMAGES)
    assert (result.done, result.failed) == (4, 16)


CHANNELS = "Expected a scan with 1 channel, as in training; found {}\\."
HOSTILE = {
    "formats__FLAIR": ("ok", "^$"),
    "formats__afni__DT_V1+orig": ("failed", CHANNELS.format(3)),
    "formats__afni__DT_V1+orig.BRIK.gz": ("skipped", r"^a part of DT_V1\+orig.HEAD$"),
    "formats__example4d+orig": ("failed", CHANNELS.format(3)),
    "formats__example4d+orig.BRIK.gz": ("skipped", r"^a part of example4d\+orig.HEAD$"),
    "formats__mask_1bit": ("failed", "found MRtrix"),
    "formats__mha": ("review", "touches the border"),
    "formats__norm": ("ok", "^$"),
    "nibabel__bad_datatype+orig": ("failed", r"found bad_datatype\+orig.HEAD alone"),
    "nibabel__example4d+orig": ("failed", CHANNELS.format(3)),
    "nibabel__example4d+orig.BRIK.gz": ("skipped", r"^a part of example4d\+orig.HEAD$"),
    "nibabel__example4d": ("failed", CHANNELS.format(2)),
    "nibabel__example_nifti2": ("failed", CHANNELS.format(2)),
    "nibabel__minc1-no-att": ("failed", "found none for zspace"),
    "nibabel__minc1_1_scale": ("review", "the mask is empty"),
    "nibabel__minc1_4d": ("failed", CHANNELS.format(2)),
    "nibabel__minc2-4d-d": ("failed", CHANNELS.format(5)),
    "nibabel__minc2-no-att": ("failed", "found none for zspace"),
    "nibabel__minc2_1_scale": ("review", "the mask is empty"),
    "nibabel__minc2_4d": ("failed", CHANNELS.format(2)),
    "nibabel__nifti2": ("failed", "found nifti2.hdr alone"),
    "nibabel__reoriented_anat_moved": ("ok", "^$"),
    "nibabel__resampled_anat_moved": ("failed", "found NaN or infinity in 153 voxels"),
    "nibabel__row_major.dconn": ("failed", "found a CIFTI file"),
    "nibabel__standard": ("review", "touches the border"),
    "odd__Conte69.MyelinAndCorrThickness.32k_fs_LR.dtseries": ("failed", "found a CIFTI file"),
    "odd__FA": ("review", "touches the border"),
    "odd__LAS_drawing_correct": ("ok", "^$"),
    "odd__complex": ("failed", "found complex numbers"),
    "odd__ct_perfusion": ("failed", r"found colours \(RGB\)"),
    "odd__draw": ("review", "touches the border"),
    "odd__labels256": ("ok", "^$"),
    "odd__mpld_asl": ("failed", CHANNELS.format(25)),
    "odd__pcasl": ("failed", CHANNELS.format(10)),
    "odd__shear": ("failed", r"found two axes at 71.5 degrees \(shear\)"),
    "odd__torsoLabel": ("review", "touches the border"),
    "ood_anatomy__CT_AVM": ("review", "touches the border"),
    "ood_anatomy__CT_pitch": ("review", "touches the border"),
    "ood_anatomy__FLAIR": ("ok", "^$"),
    "ood_anatomy__FLAIR_lesion_labels": ("review", "touches the border"),
    "ood_anatomy__MR_Gd": ("review", "touches the border"),
    "ood_anatomy__chris_MRA": ("review", "touches the border"),
    "ood_anatomy__chris_PD": ("review", "touches the border"),
    "ood_anatomy__fmri_pitch": ("review", "touches the border"),
    "ood_anatomy__inia19-t1-brain": ("review", "touches the border"),
}


def test_every_hostile_file_gives_a_mask_or_a_message(
    write_model: WriteModel, real_data: RealData, tmp_path: Path
) -> None:
    source = real_data("hostile/nifti_hostile")
    for folder in ("formats", "nibabel", "odd", "ood_anatomy"):
        (tmp_path / "in").mkdir(exist_ok=True)
        _link(source / folder, tmp_path / "in" / folder)
    result = run(write_model(patch_size=(128, 128, 128)), tmp_path / "in", tmp_path / "out")
    _check_rows(tmp_path / "out", HOSTILE)
    for row in (row for row in result.rows if row["status"] in DONE):
        values, affine = _second_reader(tmp_path / "in" / row["input"])
        (path,) = (tmp_path / "out" / row["case"]).glob("mask.*")
        mask, mask_affine = _second_reader(path)
        assert affine is not None
        assert mask_affine is not None
        (values, affine), (mask, mask_affine) = (
            references.upright(values, affine),
            references.upright(mask, mask_affine),
        )
        expected = np.where(values > 100.5, 4, values > 0.5)
        np.testing.assert_array_equal(mask, expected, err_msg=row["case"])
        np.testing.assert_allclose(mask_affine, affine, atol=1e-5, err_msg=row["case"])


def _second_reader(path: Path) -> references.Reference:
    readers: dict[str, references.ReadReference] = {
        **dict.fromkeys((".nrrd", ".mha"), references.by_simpleitk),
        ".mgz": references.by_mgh_specification,
        ".mnc": references.by_simpleitk_minc if "minc2" in path.name else references.by_scipy,
    }
    return readers.get(path.suffix, references.by_nibabel)(path)


def _link(source: Path, target: Path) -> None:
    """The same files below another folder."""
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).symlink_to(path)


DEADLY_READER = """
import os, signal, time
from pipeline.inference.reading import read_and_prepare

def read(entry, fitted):
    path = entry.path
    if path.name == "killed.nii":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "late.nii":
        time.sleep(60)
    return read_and_prepare(entry, fitted)
"""


def test_a_reader_that_is_killed_or_hangs_costs_its_own_row_alone(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "deadly_reader.py").write_text(DEADLY_READER)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setattr(prediction_run, "read_and_prepare", importlib.import_module("deadly_reader").read)
    for name in ("a", "killed", "l", "late", "z"):
        write_volume(tmp_path / "in" / f"{name}.nii", _image())
    result = run(write_model(), tmp_path / "in", tmp_path / "out", read_deadline_seconds=2.0)
    expected = dict.fromkeys("alz", ("ok", "^$"))
    expected["killed"] = ("failed", "reading it crashed: the process was killed by SIGKILL")
    expected["late"] = ("failed", "Expected a scan that is read within 2 s; found one that was not done by then")
    _check_rows(tmp_path / "out", expected)
    assert (result.done, result.failed) == (3, 2)


def test_whatever_one_case_throws_costs_its_own_row_alone(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_volume(tmp_path / "in" / f"{name}.nii", _image())
    write = write_preview

    def fail(target: Path, *rest: Any, **labels: Any) -> None:
        if target.parent.name == "b":
            raise ZeroDivisionError("of a picture")
        write(target, *rest, **labels)

    monkeypatch.setattr(prediction_files, "write_preview", fail)
    run(write_model(), tmp_path / "in", tmp_path / "out")
    _check_rows(
        tmp_path / "out",
        {"a": ("ok", "^$"), "b": ("failed", "^ZeroDivisionError: of a picture$"), "c": ("ok", "^$")},
    )


@pytest.mark.parametrize(("most", "judged_by"), [(prediction_run.JUDGED_BEHIND, "writer"), (0, "MainThread")])
def test_a_mask_that_cannot_be_judged_costs_its_own_row_alone(
    write_model: WriteModel,
    write_volume: WriteVolume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    judged_by: str,
) -> None:
    monkeypatch.setattr(prediction_run, "JUDGED_BEHIND", most)
    for name in "abc":
        write_volume(tmp_path / "in" / f"{name}.nii", _image())
    judge, calls = Predictor.judge, list[str]()

    def fail_second(self: Predictor, masked: Masked) -> Any:
        calls.append(threading.current_thread().name)
        if len(calls) == 2:
            raise ModelError("what the gate makes of a scan", "no number", "Fit it again.")
        return judge(self, masked)

    monkeypatch.setattr(Predictor, "judge", fail_second)
    run(write_model(), tmp_path / "in", tmp_path / "out")
    assert [name.partition("_")[0] for name in calls] == [judged_by] * 3  # small ones while the network does the next
    reason = "^Expected what the gate makes of a scan; found no number. Fit it again.$"
    _check_rows(tmp_path / "out", {"a": ("ok", "^$"), "b": ("failed", reason), "c": ("ok", "^$")})
    assert not (tmp_path / "out" / "b").exists()


def test_an_interrupt_keeps_the_finished_cases_and_leaves_none_half_written(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write_volume(tmp_path / "in" / f"{name}.nii", _image())
    masked = Predictor.mask
    calls: list[int] = []

    def interrupt_second(self: Predictor, prepared: Any) -> Masked:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt("of a test")
        return masked(self, prepared)

    monkeypatch.setattr(Predictor, "mask", interrupt_second)
    with pytest.raises(KeyboardInterrupt, match="of a test"):
        run(write_model(), tmp_path / "in", tmp_path / "out")
    assert files_below(tmp_path / "out") == [
        "a/mask.nii",
        "a/preview.png",
        "a/statistics.json",
        "a/viewer.html",
        "cases.csv",
        "manifest.json",
        "medseg.log",
        "report.html",
        "status.json",
    ]
    assert [row["status"] for row in table(tmp_path / "out").values()] == ["ok", "failed", "failed"]
    monkeypatch.undo()
    result = run(tmp_path / "model", tmp_path / "in", tmp_path / "out")
    assert [row["action"] for row in result.rows] == ["kept", "done", "done"]


# --- Refused as a whole


def test_a_folder_without_scans_is_refused(write_model: WriteModel, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.md").write_text("none")
    with pytest.raises(DatasetError, match=r"Expected scans \(NIfTI, .*\); found none in .*in\. Check the path"):
        run(write_model(), tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "in" / "a.nii.gz", _image())
    with pytest.raises(OutputError, match=r"Expected a folder that can be written to; found .*a\.nii\.gz: File exists"):
        run(write_model(), path, path)


@pytest.mark.parametrize("what", ["write_csv", "write_case"])
def test_a_full_disk_ends_the_run_with_a_message_and_keeps_what_is_done(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    for name in "abcdef":
        write_volume(tmp_path / "in" / f"{name}.nii", _image())
    where = prediction_worklist if what == "write_csv" else prediction_run
    write, calls = getattr(where, what), list[int]()

    def fill(*args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) >= 2:
            raise OSError(28, "No space left on device")
        return write(*args, **named)

    monkeypatch.setattr(where, what, fill)
    with pytest.raises(OutputError, match=r"found .*out: No space left on device\. Free space there or"):
        run(write_model(), tmp_path / "in", tmp_path / "out")
    assert len(calls) <= 3  # of six cases, one more was under way
    monkeypatch.undo()
    result = run(tmp_path / "model", tmp_path / "in", tmp_path / "out")
    kept = sum(row["action"] == "kept" for row in result.rows)
    assert (kept >= 1, result.done) == (True, 6)


def test_a_label_to_keep_the_largest_part_of_must_be_one_of_the_models(write_model: WriteModel) -> None:
    with pytest.raises(ConfigError, match=r"names of labels \(organ, lesion\) .* found spleen\. Correct these names"):
        Predictor(load_model(write_model()), InferenceConfig(keep_largest=("spleen",)))


def test_a_label_to_divide_into_instances_must_be_one_of_the_models(write_model: WriteModel) -> None:
    config = InferenceConfig(watershed=WatershedConfig(labels=("spleen",)))
    with pytest.raises(ConfigError, match=r"inference\.watershed\.labels; found spleen\. Correct these names"):
        Predictor(load_model(write_model()), config)
