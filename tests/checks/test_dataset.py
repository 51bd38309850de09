import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.checks.case import CaseFacts, Inspection, inspect_case
from pipeline.checks.dataset import dataset_findings, inspections, name_labels
from pipeline.checks.findings import Finding
from pipeline.config.data import DataConfig
from pipeline.formats import registry
from pipeline.layouts.dataset import Case, Dataset
from pipeline.layouts.discover import discover

WriteVolume = Callable[..., Path]
RealData = Callable[[str], Path]
SHAPE = (4, 5, 6)


def _image(seed: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, (*SHAPE, *channels)).astype(np.int16)


def _mask(*values: int) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask.flat[: len(values)] = values
    return mask


@pytest.fixture
def dataset(tmp_path: Path, write_volume: WriteVolume) -> Dataset:
    """Two good cases, a and b, with the labels 1 and 2, and a good scan without a mask, t."""
    cases = [
        Case(
            name,
            (write_volume(tmp_path / f"images/{name}.nii.gz", _image(seed)),),
            write_volume(tmp_path / f"masks/{name}.nii.gz", _mask(1, 2)),
            patient=name,
        )
        for seed, name in enumerate("ab")
    ]
    test = Case("t", (write_volume(tmp_path / "imagesTs/t.nii.gz", _image(9)),), None, patient="t")
    return Dataset("set", tmp_path, {"front": 1, "back": 2}, ("MR",), tuple(cases), (test,))


def check_dataset(dataset: Dataset, *, deep: bool) -> list[Finding]:
    facts = [inspect_case(job) for job in inspections(dataset, deep=deep)]
    return dataset_findings(name_labels(dataset, facts), facts)


def _mask_of(dataset: Dataset, index: int) -> Path:
    mask = dataset.cases[index].mask
    assert mask is not None
    return mask


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_data_set_has_no_findings(dataset: Dataset, deep: bool) -> None:
    assert check_dataset(dataset, deep=deep) == []


# --- Files


def test_an_image_without_a_mask_is_an_error(dataset: Dataset) -> None:
    strays = replace(dataset, unmasked=(dataset.root / "images/c.nii.gz",))
    remedy = "Add it, or move the image out of the folder of those that have one."
    expected = Finding("error", "c", "a mask for every image", "none", remedy, "images/c.nii.gz")
    assert check_dataset(strays, deep=False) == [expected]


def test_a_mask_without_an_image_is_an_error(dataset: Dataset) -> None:
    strays = replace(dataset, orphan_masks=(dataset.root / "masks/c.nii.gz",))
    remedy = "Add it, or remove the mask."
    expected = Finding("error", "c", "an image for every mask", "none", remedy, "masks/c.nii.gz")
    assert check_dataset(strays, deep=False) == [expected]


@pytest.mark.parametrize(("field", "severity"), [("missing", "error"), ("missing_unlabelled", "warning")])
def test_a_listed_file_that_is_missing_is_an_error_where_it_is_trained_on(
    dataset: Dataset, field: str, severity: str
) -> None:
    changes: Any = {field: (dataset.root / "folder/c.nii.gz",)}
    (finding,) = check_dataset(replace(dataset, **changes), deep=False)
    assert (finding.severity, finding.case) == (severity, "c")
    assert (finding.expected, finding.file) == ("the files that dataset.json lists", "folder/c.nii.gz")


def test_a_file_that_is_not_listed_is_a_warning(dataset: Dataset) -> None:
    (finding,) = check_dataset(replace(dataset, unlisted=(dataset.root / "images/c.nii.gz",)), deep=False)
    assert (finding.severity, finding.case) == ("warning", "c")
    assert (finding.expected, finding.file) == ("only files that dataset.json lists", "images/c.nii.gz")


def test_a_listed_file_outside_the_data_set_is_named_in_full(dataset: Dataset) -> None:
    (finding,) = check_dataset(replace(dataset, missing=(Path("/elsewhere/c.nii.gz"),)), deep=False)
    assert finding.file == "/elsewhere/c.nii.gz"


def test_files_of_other_formats_are_one_warning(dataset: Dataset) -> None:
    ignored = tuple(dataset.root / "images" / f"{name}.png" for name in "cd")
    (finding,) = check_dataset(replace(dataset, ignored=ignored), deep=False)
    assert (finding.severity, finding.case) == ("warning", "")
    assert finding.found == "other files, left out: c.png, d.png"


# --- The data set as a whole


def test_a_data_set_without_a_case_is_an_error(dataset: Dataset) -> None:
    (finding,) = check_dataset(replace(dataset, cases=()), deep=False)
    assert (finding.severity, finding.expected) == ("error", "an image with a mask, at least one")


@pytest.fixture
def unnamed(dataset: Dataset) -> Dataset:
    """The same without names of the labels."""
    return replace(dataset, labels={}, declared=False)


@pytest.mark.parametrize(("deep", "names"), [(False, "label_<value>"), (True, "label_1, label_2")])
def test_labels_that_nothing_names_are_a_warning(unnamed: Dataset, deep: bool, names: str) -> None:
    (finding,) = check_dataset(unnamed, deep=deep)
    assert (finding.severity, finding.remedy) == ("warning", "Name them in data.labels of the configuration.")
    assert finding.found == f"none, so that they are called {names} after the values in the masks"


def test_labels_that_nothing_names_are_called_after_the_values_of_the_masks_that_were_read(unnamed: Dataset) -> None:
    facts = [
        CaseFacts("a", voxels={0: 9, 500: 1, 2: 1}),
        CaseFacts("b", voxels={2: 3, 7: 1}),
        CaseFacts("c", voxels=None),
        CaseFacts("d", voxels={0: 9}),
    ]
    assert list(name_labels(unnamed, facts).labels.items()) == [("label_2", 2), ("label_7", 7), ("label_500", 500)]
    assert name_labels(replace(unnamed, labels={"front": 1}, declared=True), facts).labels == {"front": 1}


def test_masks_of_zeros_alone_where_nothing_names_the_labels_are_an_error(
    unnamed: Dataset, write_volume: WriteVolume
) -> None:
    for index in (0, 1):
        write_volume(_mask_of(unnamed, index), _mask())
    finding = check_dataset(unnamed, deep=True)[0]
    assert (finding.severity, finding.expected) == ("error", "a label, at least one")


def test_more_labels_than_there_are_class_numbers_are_an_error(unnamed: Dataset) -> None:
    facts = [CaseFacts("a", voxels=dict.fromkeys(range(1, 256), 1))]
    (finding,) = dataset_findings(name_labels(unnamed, facts), facts)
    assert (finding.severity, finding.expected, finding.found) == ("error", "at most 254 labels", "255")


# --- Headers


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("part", ["image", "mask"])
def test_a_file_that_cannot_be_read_is_one_error_of_its_case(dataset: Dataset, part: str, deep: bool) -> None:
    path: Path = getattr(dataset.cases[0], part)
    path.write_bytes(b"nothing of the sort")
    (finding,) = check_dataset(dataset, deep=deep)
    assert (finding.severity, finding.case) == ("error", "a")
    assert (finding.expected, finding.found) == ("a NIfTI file", "19 bytes")
    assert finding.file == f"{path.parent.name}/a.nii.gz"


def test_an_image_and_a_mask_that_cannot_be_read_are_both_found(dataset: Dataset) -> None:
    for path in (dataset.cases[0].image, _mask_of(dataset, 0)):
        path.write_bytes(b"nothing of the sort")
    assert [finding.file for finding in check_dataset(dataset, deep=True)] == ["images/a.nii.gz", "masks/a.nii.gz"]


def test_a_mask_of_another_shape_is_an_error(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(_mask_of(dataset, 0), _mask(1, 2)[:, :, 1:])
    (finding,) = check_dataset(dataset, deep=False)
    assert (finding.severity, finding.case, finding.expected) == ("error", "a", "a mask on its image's grid")
    assert finding.found == "shape 4 x 5 x 6 against 4 x 5 x 5 (image against mask)"


def test_a_mask_of_another_spacing_is_an_error(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(_mask_of(dataset, 0), _mask(1, 2), spacing_mm=2.0)
    (finding,) = check_dataset(dataset, deep=False)
    # the last voxel lies at (3, 4, 5) mm of the one and at (6, 8, 10) mm of the other: sqrt(9 + 16 + 25) = 7.07 apart
    assert finding.found == "positions up to 7.07 mm apart (image against mask)"


def test_another_number_of_channels_than_modalities_is_an_error(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(dataset.cases[0].image, _image(0, 2))
    (finding,) = check_dataset(dataset, deep=False)
    assert (finding.case, finding.expected, finding.found) == ("a", "an image of 1 channel, one a modality", "2")
    findings = check_dataset(replace(dataset, modalities=("FLAIR", "T1w")), deep=False)
    assert [(finding.case, finding.found) for finding in findings] == [("b", "1"), ("t", "1")]


@pytest.mark.parametrize("deep", [False, True])
def test_a_mask_with_several_channels_is_one_error(dataset: Dataset, write_volume: WriteVolume, deep: bool) -> None:
    write_volume(_mask_of(dataset, 0), np.stack([_mask(1, 2)] * 3, axis=-1))
    (finding,) = check_dataset(dataset, deep=deep)
    assert (finding.expected, finding.found) == ("a mask with one label a voxel", "3 channels")


def test_scans_without_a_mask_are_checked_as_well(dataset: Dataset) -> None:
    dataset.unlabelled[0].image.unlink()
    (finding,) = check_dataset(dataset, deep=False)
    assert (finding.severity, finding.case) == ("warning", "t")  # nothing is learnt from it
    assert (finding.found, finding.file) == ("No such file or directory", "imagesTs/t.nii.gz")


# --- Voxels


def test_values_that_are_not_finite_are_found_by_the_deep_check_alone(
    dataset: Dataset, write_volume: WriteVolume
) -> None:
    image = _image(0).astype(np.float32)
    image[0, 0, :2] = np.nan, np.inf
    write_volume(dataset.cases[0].image, image)
    assert check_dataset(dataset, deep=False) == []
    (finding,) = check_dataset(dataset, deep=True)
    assert (finding.severity, finding.case, finding.expected) == ("error", "a", "finite values")
    assert (finding.found, finding.file) == ("NaN or infinity in 2 voxels", "images/a.nii.gz")


def test_a_file_that_is_cut_off_is_found_by_the_deep_check(dataset: Dataset) -> None:
    path = dataset.cases[0].image
    path.write_bytes(path.read_bytes()[:-20])
    (finding,) = check_dataset(dataset, deep=True)
    assert finding.expected == "a whole file"


def test_a_label_that_is_not_declared_is_an_error(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(_mask_of(dataset, 0), _mask(1, 7, 9))
    assert check_dataset(dataset, deep=False) == []
    (finding,) = check_dataset(dataset, deep=True)
    remedy = "Correct the mask, or declare the label in data.labels."
    assert finding == Finding("error", "a", "the label values 0, 1, 2", "also 7, 9", remedy)


@pytest.mark.parametrize(("value", "expected"), [(0.5, "whole label values"), (-1.0, "label values from 0 to 65535")])
def test_a_label_that_is_no_whole_number_is_an_error(
    dataset: Dataset, write_volume: WriteVolume, value: float, expected: str
) -> None:
    mask = _mask(1, 2).astype(np.float32)
    mask[3, 3, 3] = value
    write_volume(_mask_of(dataset, 0), mask)
    (finding,) = check_dataset(dataset, deep=True)
    assert (finding.severity, finding.case, finding.expected) == ("error", "a", expected)


def test_labels_stored_as_floats_are_no_finding(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(_mask_of(dataset, 0), _mask(1, 2).astype(np.float32) * np.float32(0.99999997))
    assert check_dataset(dataset, deep=True) == []


def test_an_empty_mask_is_a_warning(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(_mask_of(dataset, 0), _mask())
    (finding,) = check_dataset(dataset, deep=True)
    assert (finding.severity, finding.case, finding.found) == ("warning", "a", "zeros alone")


def test_a_declared_label_that_no_mask_holds_is_a_warning(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(_mask_of(dataset, 0), _mask(1))
    assert check_dataset(dataset, deep=True) == []  # the other mask still holds the 2
    write_volume(_mask_of(dataset, 1), _mask(1))
    (finding,) = check_dataset(dataset, deep=True)
    assert (finding.severity, finding.case) == ("warning", "")
    assert finding.expected == "the label back (value 2) in some mask"
    assert finding.found == "it in none of the 2 that were read"


def test_all_errors_of_a_case_are_found_and_not_the_first_alone(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(dataset.cases[0].image, np.full((*SHAPE, 2), np.nan, np.float32))
    write_volume(_mask_of(dataset, 0), np.pad(_mask(1, 2, 3), ((0, 1), (0, 0), (0, 0))))
    findings = check_dataset(dataset, deep=True)
    assert {finding.case for finding in findings} == {"a"}
    assert sorted(finding.expected for finding in findings) == [
        "a mask on its image's grid",
        "an image of 1 channel, one a modality",
        "finite values",
        "the label values 0, 1, 2",
    ]


# --- Duplicates


def test_one_image_of_two_patients_is_an_error_however_it_is_stored(
    dataset: Dataset, write_volume: WriteVolume
) -> None:
    write_volume(dataset.cases[1].image, _image(0).astype(np.float32))  # the values of a, in another type
    assert check_dataset(dataset, deep=False) == []
    (finding,) = check_dataset(dataset, deep=True)
    assert finding == Finding("error", "a", "images that differ", "the same values in a, b", "Keep one of them.")


def test_one_image_of_one_patient_is_a_warning(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(dataset.cases[1].image, _image(0))
    cases = tuple(replace(case, patient="p") for case in dataset.cases)
    (finding,) = check_dataset(replace(dataset, cases=cases), deep=True)
    assert (finding.severity, finding.found) == ("warning", "the same values in a, b")


def test_a_training_image_among_the_scans_without_a_mask_is_an_error(
    dataset: Dataset, write_volume: WriteVolume
) -> None:
    write_volume(dataset.unlabelled[0].image, _image(1))
    (finding,) = check_dataset(dataset, deep=True)
    assert (finding.severity, finding.found) == ("error", "the same values in b, t")


# --- How cases are looked at


def test_an_inspection_and_its_facts_can_be_sent_between_processes(dataset: Dataset) -> None:
    job = Inspection(dataset.cases[0], deep=True, labels=frozenset({1}), channels=1)
    facts = inspect_case(pickle.loads(pickle.dumps(job)))
    assert pickle.loads(pickle.dumps(facts)) == facts
    assert facts.labels == frozenset({1, 2})
    assert facts.content_hash == registry.read_scan(dataset.cases[0].image).content_hash()
    assert [finding.found for finding in facts.findings] == ["also 2"]


def test_without_the_voxels_there_is_neither_hash_nor_label(dataset: Dataset) -> None:
    job = inspections(dataset, deep=False)[0]
    expected = CaseFacts("a", channels=1, spacing_mm=(1.0, 1.0, 1.0), shape=(4, 5, 6), unit="mm")
    assert inspect_case(job) == expected


def test_any_labels_and_channels_will_do_where_none_are_asked_for(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(dataset.cases[0].image, _image(0, 2))
    facts = inspect_case(Inspection(dataset.cases[0], deep=True))
    assert (facts.findings, facts.labels, facts.channels) == ((), frozenset({1, 2}), 2)


def test_errors_come_before_warnings_and_cases_in_order(dataset: Dataset) -> None:
    root = dataset.root
    strays = replace(dataset, unlisted=(root / "a.nii",), unmasked=(root / "d.nii", root / "c.nii"))
    assert [finding.case for finding in dataset_findings(strays, [])] == ["c", "d", "a"]


# --- Real data


def test_the_headers_of_the_hippocampus_have_no_findings(real_data: RealData) -> None:
    assert check_dataset(discover(DataConfig(root=real_data("hippocampus"))), deep=False) == []


def test_the_voxels_of_some_of_the_hippocampus_have_no_findings(real_data: RealData) -> None:
    dataset = discover(DataConfig(root=real_data("hippocampus")))
    assert check_dataset(replace(dataset, cases=dataset.cases[::40]), deep=True) == []


@pytest.mark.parametrize("listed", [True, False])
def test_each_problem_planted_into_the_hippocampus_is_found(real_data: RealData, tmp_path: Path, listed: bool) -> None:
    source, planted = real_data("hippocampus"), real_data("hostile/hippocampus_planted")
    content = json.loads((source / "dataset.json").read_text())
    content["training"] = content["training"][:4]
    for item in content["training"]:
        for path in item.values():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).symlink_to(source / path)
    (tmp_path / content["training"][0]["label"]).unlink()
    shutil.copy(planted / "foreign_label.nii.gz", tmp_path / content["training"][0]["label"])
    (tmp_path / "imagesTr/planted_image.nii.gz").symlink_to(planted / "image_without_label.nii.gz")
    (tmp_path / "labelsTr/planted_label.nii.gz").symlink_to(planted / "label_without_image.nii.gz")
    unlisted = {key: content[key] for key in ("labels", "modality")}
    (tmp_path / "dataset.json").write_text(json.dumps(content if listed else unlisted))
    foreign = Path(content["training"][0]["label"]).name.removesuffix(".nii.gz")
    dataset = discover(DataConfig(root=tmp_path))
    assert [(finding.severity, finding.case, finding.expected) for finding in check_dataset(dataset, deep=False)] == [
        ("error", foreign, "a mask on its image's grid"),
        ("error", "planted_image", "a mask for every image"),
        ("error", "planted_label", "an image for every mask"),
    ]


def test_a_spacing_far_from_the_usual_one_is_worth_a_look(dataset: Dataset, write_volume: WriteVolume) -> None:
    write_volume(dataset.cases[1].image, _image(1), spacing_mm=10.0)
    write_volume(dataset.cases[1].mask, _mask(1, 2), spacing_mm=10.0)
    (finding,) = check_dataset(dataset, deep=False)
    assert (finding.severity, finding.case) == ("warning", "b")
    assert (finding.expected, finding.found) == ("a spacing near the usual one of 1 x 1 x 1 mm", "10 x 10 x 10 mm")


def test_a_picture_among_scans_is_an_error_and_has_no_spacing_to_compare(dataset: Dataset, tmp_path: Path) -> None:
    image, mask = tmp_path / "images" / "p.png", tmp_path / "masks" / "p.png"
    for path in (image, mask):
        Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 3).save(path)
    picture = Case("p", (image,), mask, patient="p")
    (finding,) = check_dataset(replace(dataset, cases=(*dataset.cases, picture)), deep=True)
    assert (finding.severity, finding.case, finding.found) == ("error", "p", "a picture among scans")
    assert check_dataset(replace(dataset, cases=(picture,), unlabelled=()), deep=True) == []


def test_modalities_that_were_assumed_are_said(dataset: Dataset) -> None:
    (finding,) = check_dataset(replace(dataset, modalities_declared=False), deep=False)
    assert (finding.severity, finding.found) == ("warning", "none, so that each channel is taken as MR")
    assert "Set data.modalities in the configuration" in finding.remedy


def _called(dataset: Dataset, *names: str) -> list[str]:
    """What is said of patients where cases have these names."""
    cases = tuple(replace(dataset.cases[0], name=name, patient=name) for name in names)
    findings = dataset_findings(replace(dataset, cases=cases, unlabelled=()), [])
    return [finding.found for finding in findings if finding.expected == "the patient of each case"]


def test_names_by_which_cases_share_a_patient_are_worth_a_look(dataset: Dataset) -> None:
    (found,) = _called(dataset, "p1_frame01", "p1_frame12", "p2_frame01", "p2_frame07")
    assert found == "each case as a patient of its own, though p1_frame01, p1_frame12 look like one"


@pytest.mark.parametrize(
    "names",
    [
        ("scan_001", "scan_002", "scan_003"),
        ("a", "b", "c"),
        ("left_1", "left_2", "right_1", "right_2", *(f"left_{number}" for number in range(3, 20))),
        ("p1_frame01", "p2_frame01"),
    ],
)
def test_names_that_number_cases_say_nothing_of_patients(dataset: Dataset, names: tuple[str, ...]) -> None:
    assert _called(dataset, *names) == []


def test_where_patients_are_known_names_say_nothing(dataset: Dataset) -> None:
    names = ("p1_frame01", "p1_frame12", "p2_frame01", "p2_frame07")
    cases = tuple(replace(dataset.cases[0], name=name, patient=name.split("_")[0]) for name in names)
    findings = dataset_findings(replace(dataset, cases=cases), [])
    assert not [finding for finding in findings if finding.expected == "the patient of each case"]


def test_labels_are_counted_inside_the_field_of_view_and_said_to_lie_outside(
    dataset: Dataset, write_volume: WriteVolume
) -> None:
    view = np.zeros(SHAPE, np.uint8)
    view.flat[1:61] = 1  # leaves out the one voxel of label 1
    case = replace(dataset.cases[0], field_of_view=write_volume(dataset.root / "fov" / "a.nii.gz", view))
    facts = inspect_case(Inspection(case, deep=True))
    assert facts.voxels == {0: 59, 2: 1}
    assert [(each.severity, each.found) for each in facts.findings] == [("warning", "50% of their voxels outside it")]
    whole = replace(case, field_of_view=write_volume(dataset.root / "fov" / "b.nii.gz", np.ones(SHAPE, np.uint8)))
    assert inspect_case(Inspection(whole, deep=True)).findings == ()
    assert inspect_case(Inspection(case, deep=True, labels=frozenset({2}))).findings == facts.findings
    (_, unknown) = inspect_case(Inspection(case, deep=True, labels=frozenset({1}))).findings
    assert (unknown.expected, unknown.found) == ("the label values 0, 1", "also 2")


def test_grey_masks_of_one_structure_without_a_threshold_are_told_from_labels(dataset: Dataset) -> None:
    undeclared = replace(dataset, labels={}, declared=False)
    facts = [CaseFacts(name, voxels={0: 9, 254: 1, 255: 9}) for name in "ab"]
    findings = dataset_findings(name_labels(undeclared, facts), facts)
    (finding,) = [each for each in findings if "grey pictures" in each.expected]
    assert (finding.found, "data.mask.threshold" in finding.remedy) == ("2 values, with 255 among them", True)


def test_a_palette_of_colours_is_one_label_a_pixel(tmp_path: Path) -> None:
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(tmp_path / "a.png")
    mask = Image.fromarray(np.eye(4, 5, dtype=np.uint8) * 2, mode="P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    mask.save(tmp_path / "a_mask.png")
    facts = inspect_case(Inspection(Case("a", (tmp_path / "a.png",), tmp_path / "a_mask.png", "a"), deep=True))
    assert (facts.findings, facts.voxels) == ((), {0: 16, 2: 4})
    colours = np.zeros((4, 5, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "a_mask.png")
    facts = inspect_case(Inspection(Case("a", (tmp_path / "a.png",), tmp_path / "a_mask.png", "a"), deep=True))
    assert [each.expected for each in facts.findings] == ["a mask with one label a voxel"]


def test_the_second_file_of_a_mask_is_looked_at_too(dataset: Dataset, write_volume: WriteVolume) -> None:
    other = write_volume(dataset.root / "masks" / "a_back.nii.gz", np.zeros((4, 5, 7), np.uint8))
    case = replace(dataset.cases[0], further_masks=(other,))
    (finding,) = inspect_case(Inspection(case, deep=False)).findings
    assert (finding.expected, finding.file) == ("a mask on its image's grid", "masks/a_back.nii.gz")


def test_guesses_by_names_and_channels_without_a_name_are_warnings(dataset: Dataset) -> None:
    cases = tuple(replace(case, images=case.images * 2) for case in dataset.cases)
    guessed = replace(dataset, loose_match="1_a.nii with 1_b.nii", cases=cases)
    found = [(each.severity, each.found) for each in check_dataset(guessed, deep=False) if each.case == ""]
    channels = "others, such as a.nii.gz and a.nii.gz of a, b.nii.gz and b.nii.gz of b"
    assert found == [
        ("warning", "other names, matched by what tells them apart, such as 1_a.nii with 1_b.nii"),
        ("warning", channels),
    ]
    named = replace(guessed, loose_match="", channel_files=("{case}_0", "{case}_1"))
    assert [each for each in check_dataset(named, deep=False) if each.case == ""] == []
