"""The files of a case that the settings ask for besides its mask."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from scipy.special import softmax

from pipeline.commands.predict import predict
from pipeline.commands.prediction_files import case_files
from pipeline.config.inference import WatershedConfig
from pipeline.errors import ConfigError
from pipeline.model import load_model

WriteModel = Callable[..., Path]
QUIET = Console(quiet=True)
AFFINE = np.diag([-2.0, 1.0, 3.0, 1.0])


def scan() -> NDArray[np.int16]:
    """Two organs at 10, of 2 x 3 x 4 and 2 x 2 x 2 voxels, and in the larger one a lesion of 3 voxels at 200."""
    image = np.zeros((8, 7, 8), np.int16)
    image[1:3, 2:5, 3:7] = 10
    image[1:2, 2:5, 3:4] = 200
    image[5:7, 4:6, 1:3] = 10
    return image


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    nibabel.Nifti1Image(scan(), AFFINE).to_filename(folder / "a.nii.gz")
    return folder


def run(model: Path, source: Path, output: Path, **settings: Any) -> dict[str, str]:
    """The row of the one case."""
    loaded = load_model(model)
    config = loaded.manifest.inference.model_copy(update=settings)
    predict(loaded, source, output, config=config, console=QUIET)
    (row,) = csv.DictReader((output / "cases.csv").read_text().splitlines())
    assert row["status"] in ("ok", "review"), row["reason"]
    return row


def voxels(path: Path) -> NDArray:
    image = nibabel.Nifti1Image.from_filename(path)
    np.testing.assert_array_equal(image.affine, AFFINE)
    return np.asarray(image.dataobj)


def names(output: Path) -> list[str]:
    return [path.name for path in sorted((output / "a").iterdir())]


def test_by_default_there_are_none(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    row = run(write_model(), source, tmp_path / "out")
    assert names(tmp_path / "out") == ["mask.nii.gz", "preview.png", "statistics.json", "viewer.html"]
    assert "organ_instances" not in row


def test_a_file_for_each_label_is_1_where_the_label_is(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    run(write_model(), source, tmp_path / "out", label_files=True)
    folder = tmp_path / "out" / "a"
    assert [name for name in names(folder.parent) if "label" in name] == [
        "label_1_organ.nii.gz",
        "label_4_lesion.nii.gz",
    ]
    mask = voxels(folder / "mask.nii.gz")
    np.testing.assert_array_equal(voxels(folder / "label_1_organ.nii.gz"), mask == 1)
    np.testing.assert_array_equal(voxels(folder / "label_4_lesion.nii.gz"), mask == 4)
    assert mask[1, 2, 3] == 4


@pytest.mark.parametrize("spacing_mm", [None, (1.5, 1.5, 1.5)])
def test_the_likeliest_class_of_the_probability_maps_is_the_masks(
    write_model: WriteModel, source: Path, tmp_path: Path, spacing_mm: tuple[float, float, float] | None
) -> None:
    run(write_model(lesion=20.5, spacing_mm=spacing_mm), source, tmp_path / "out", probability_maps=True)
    folder = tmp_path / "out" / "a"
    organ, lesion = (voxels(folder / f"probability_{name}.nii.gz") for name in ("1_organ", "4_lesion"))
    assert organ.dtype == np.float32
    likeliest = np.stack([1 - organ - lesion, organ, lesion]).argmax(0)
    np.testing.assert_array_equal(np.array([0, 1, 4])[likeliest], voxels(folder / "mask.nii.gz"))


def test_probabilities_are_those_of_the_networks_logits(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    run(write_model(lesion=20.5), source, tmp_path / "out", probability_maps=True)
    x = scan().astype(np.float64)
    expected = softmax(np.stack([0 * x, x - 0.5, 2 * x - 0.5 - 20.5]), axis=0)
    outside = np.ones(x.shape, bool)
    outside[1:7, 2:6, 1:7] = False  # what the crop cut away is background, and certainly so
    for name, values in (("1_organ", expected[1]), ("4_lesion", expected[2])):
        found = voxels(tmp_path / "out" / "a" / f"probability_{name}.nii.gz")
        np.testing.assert_allclose(found, np.where(outside, 0, values), atol=1e-6)


def test_instances_are_numbered_and_counted(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    row = run(write_model(), source, tmp_path / "out", instance_files=("organ",))
    folder = tmp_path / "out" / "a"
    numbers = voxels(folder / "instances_1_organ.nii.gz")
    np.testing.assert_array_equal(numbers > 0, voxels(folder / "mask.nii.gz") == 1)
    assert (numbers.max(), len(set(numbers[5:7, 4:6, 1:3].flat))) == (2, 1)
    assert row["organ_instances"] == "2"
    statistics = json.loads((folder / "statistics.json").read_text())
    assert statistics["organ"]["instances"] == 2
    assert "instances" not in statistics["lesion"]
    assert "(2)" in (tmp_path / "out" / "report.html").read_text()


def test_the_watershed_divides_instances_that_touch(write_model: WriteModel, tmp_path: Path) -> None:
    image = np.zeros((24, 14, 6), np.int16)
    for centre in (7, 16):  # two discs that overlap
        i, j = np.ogrid[:24, :14]
        image[(i - centre) ** 2 + (j - 7) ** 2 <= 25] = 10
    (tmp_path / "in").mkdir()
    nibabel.Nifti1Image(image, np.eye(4)).to_filename(tmp_path / "in" / "a.nii")
    model, watershed = write_model(), WatershedConfig(labels=("organ",), peak_distance_mm=3)
    whole = run(model, tmp_path / "in", tmp_path / "whole", instance_files=("organ",))
    divided = run(model, tmp_path / "in", tmp_path / "divided", instance_files=("organ",), watershed=watershed)
    assert (whole["organ_instances"], divided["organ_instances"]) == ("1", "2")


def test_of_a_picture_they_are_pictures(write_model: WriteModel, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.zeros((9, 12), np.uint8)  # rows, columns
    pixels[2:5, 1:4], pixels[6:8, 8:11] = 10, 10
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    model = write_model(unit="px")
    row = run(
        model, tmp_path / "in", tmp_path / "out", instance_files=("organ",), label_files=True, probability_maps=True
    )
    folder = tmp_path / "out" / "a"
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "label_1_organ.png")), pixels > 0)
    assert np.asarray(Image.open(folder / "instances_1_organ.png")).max() == 2
    probability = tifffile.imread(folder / "probability_1_organ.tif")
    assert probability.dtype == np.float32
    assert probability.shape == (9, 12)
    assert probability[3, 2] > 0.9
    assert probability[0, 0] < 0.5
    assert (row["organ_px"], row["organ_instances"]) == ("15", "2")


def test_a_case_done_again_without_them_keeps_none(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    model, output = write_model(), tmp_path / "out"
    run(model, source, output, label_files=True, probability_maps=True, instance_files=("organ",))
    kept = run(model, source, output, label_files=True, probability_maps=True, instance_files=("organ",))
    assert (kept["action"], kept["organ_instances"]) == ("kept", "2")
    (output / "a" / "label_of_mine.txt").write_text("stays")
    assert run(model, source, output)["action"] == "done"
    assert names(output) == ["label_of_mine.txt", "mask.nii.gz", "preview.png", "statistics.json", "viewer.html"]


def test_a_file_that_a_person_corrected_is_not_replaced(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    model, output = write_model(), tmp_path / "out"
    run(model, source, output, instance_files=("organ",))
    (output / "a" / "instances_1_organ.nii.gz").write_bytes(b"corrected")
    with pytest.raises(AssertionError, match="a mask that was changed since"):
        run(model, source, output)
    assert (output / "a" / "instances_1_organ.nii.gz").read_bytes() == b"corrected"


def test_labels_that_differ_in_odd_characters_have_files_of_their_own(
    write_model: WriteModel, source: Path, tmp_path: Path
) -> None:
    loaded = load_model(write_model())
    manifest = loaded.manifest.model_copy(update={"labels": {"left/lung": 1, "left lung": 4}})
    config = manifest.inference.model_copy(update={"label_files": True})
    output = tmp_path / "out"
    predict(replace(loaded, manifest=manifest), source, output, config=config, console=QUIET)
    files = [path for path in case_files(output / "a") if path.name.startswith("label")]
    assert [path.name for path in files] == ["label_1_left_lung.nii.gz", "label_4_left_lung.nii.gz"]
    mask = voxels(output / "a" / "mask.nii.gz")
    for path, value in zip(files, (1, 4), strict=True):
        np.testing.assert_array_equal(voxels(path), mask == value)


def test_files_of_other_names_are_none_of_a_case(tmp_path: Path) -> None:
    for name in ("label_1_left_lung.nii.gz", "label_2_left_lung.png", "mask.nrrd", "preview.png"):
        (tmp_path / name).touch()
    for name in ("label.nii.gz", "label_1_a.txt", "label_x_y.nii.gz", "mask.txt", "notes.json"):
        (tmp_path / name).touch()
    found = [path.name for path in case_files(tmp_path)]
    assert found == ["label_1_left_lung.nii.gz", "label_2_left_lung.png", "mask.nrrd", "preview.png"]
    assert case_files(tmp_path / "nowhere") == []


def test_instances_of_what_is_no_label_are_refused(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    expected = r"Expected names of labels \(organ, lesion\) in inference.instance_files; found liver"
    with pytest.raises(ConfigError, match=expected):
        run(write_model(), source, tmp_path / "out", instance_files=("liver",))


def test_instances_of_a_wall_are_what_it_divides(write_model: WriteModel, tmp_path: Path) -> None:
    image = np.zeros((7, 6, 3), np.int16)
    image[3] = 10
    (tmp_path / "in").mkdir()
    nibabel.Nifti1Image(image, np.eye(4)).to_filename(tmp_path / "in" / "a.nii")
    model = write_model()
    content = json.loads((model / "model.json").read_text())
    content["evaluation"] |= {"instances": True, "walls": ["organ"]}
    (model / "model.json").write_text(json.dumps(content))
    row = run(model, tmp_path / "in", tmp_path / "out", instance_files=("organ",))
    assert row["organ_instances"] == "2"


def test_a_case_has_no_page_where_none_is_asked_for(write_model: WriteModel, source: Path, tmp_path: Path) -> None:
    run(write_model(), source, tmp_path / "out", viewer_pages=False)
    assert names(tmp_path / "out") == ["mask.nii.gz", "preview.png", "statistics.json"]
    assert "viewer.html" not in (tmp_path / "out" / "report.html").read_text()
    run(tmp_path / "model", source, tmp_path / "out")
    assert "viewer.html" in names(tmp_path / "out")
    assert 'href="a/viewer.html"' in (tmp_path / "out" / "report.html").read_text()
