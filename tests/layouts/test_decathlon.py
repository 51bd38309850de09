import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DatasetError
from pipeline.layouts import decathlon
from pipeline.layouts.dataset import Dataset

LABELS = {"0": "background", "1": "anterior", "2": "posterior"}


def _make(root: Path, *files: str, **content: Any) -> Dataset:
    """Empty files under their short names (Tr/a -> imagesTr/a.nii.gz), and a dataset.json of what is given."""
    (root / "imagesTr").mkdir(parents=True)
    for file in files:
        path = root / f"{file}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    if content:
        (root / "dataset.json").write_text(json.dumps(content))
    return decathlon.read(root)


def _list(*names: str) -> list[dict[str, str]]:
    return [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]


def _names(paths: tuple[Path, ...]) -> list[str]:
    return [f"{path.parent.name}/{path.name.removesuffix('.nii.gz')}" for path in paths]


def test_listed_pairs_are_the_cases_sorted_by_name(tmp_path: Path) -> None:
    files = ("imagesTr/b", "labelsTr/b", "imagesTr/a", "labelsTr/a", "imagesTs/c")
    dataset = _make(
        tmp_path / "set",
        *files,
        name="Brain",
        labels=LABELS,
        modality={"0": "MRI"},
        training=_list("b", "a"),
        test=["./imagesTs/c.nii.gz"],
    )
    assert [(case.name, case.patient) for case in dataset.cases] == [("a", "a"), ("b", "b")]
    assert dataset.cases[0].mask == tmp_path / "set/labelsTr/a.nii.gz"
    assert [(case.name, case.mask) for case in dataset.unlabelled] == [("c", None)]
    assert (dataset.name, dataset.labels, dataset.modalities) == ("Brain", {"anterior": 1, "posterior": 2}, ("MRI",))
    assert dataset.declared
    assert (dataset.unmasked, dataset.orphan_masks, dataset.missing, dataset.unlisted) == ((), (), (), ())


@pytest.mark.parametrize("content", [{}, {"labels": LABELS}, {"labels": LABELS, "training": [], "test": []}])
def test_without_a_list_the_files_are_paired_by_their_names(tmp_path: Path, content: dict[str, Any]) -> None:
    dataset = _make(tmp_path / "set", "imagesTr/a", "labelsTr/a", "imagesTr/b", "labelsTr/c", "imagesTs/d", **content)
    assert [case.name for case in dataset.cases] == ["a"]
    assert [case.name for case in dataset.unlabelled] == ["d"]
    assert _names(dataset.unmasked) == ["imagesTr/b"]
    assert _names(dataset.orphan_masks) == ["labelsTr/c"]
    assert dataset.unlisted == ()
    assert dataset.declared == ("labels" in content)


def test_listed_files_that_do_not_exist_are_missing_and_their_cases_left_out(tmp_path: Path) -> None:
    files = ("imagesTr/a", "labelsTr/a", "imagesTr/b", "labelsTr/c")  # b lacks its mask, c its image, d and e all
    dataset = _make(tmp_path / "set", *files, training=_list("a", "b", "c", "d"), test=["imagesTs/e.nii.gz"])
    assert [case.name for case in dataset.cases] == ["a"]
    assert _names(dataset.missing) == ["labelsTr/b", "imagesTr/c", "imagesTr/d", "labelsTr/d"]
    assert _names(dataset.missing_unlabelled) == ["imagesTs/e"]
    assert (dataset.unmasked, dataset.orphan_masks) == ((), ())


def test_files_that_are_not_listed_are_left_out_and_told_apart(tmp_path: Path) -> None:
    files = ("imagesTr/a", "labelsTr/a", "imagesTr/pair", "labelsTr/pair", "imagesTr/image", "labelsTr/mask")
    dataset = _make(
        tmp_path / "set", *files, "imagesTs/t", "imagesTs/u", training=_list("a"), test=["./imagesTs/t.nii.gz"]
    )
    assert [case.name for case in dataset.cases] == ["a"]
    assert [case.name for case in dataset.unlabelled] == ["t"]
    assert _names(dataset.unlisted) == ["imagesTr/pair", "imagesTs/u"]
    assert _names(dataset.unmasked) == ["imagesTr/image"]
    assert _names(dataset.orphan_masks) == ["labelsTr/mask"]


def test_what_macos_leaves_behind_is_no_file_of_the_data_set(tmp_path: Path) -> None:
    files = ("imagesTr/a", "imagesTr/._a", "labelsTr/a", "labelsTr/._a", "imagesTs/._b")
    dataset = _make(tmp_path / "set", *files, labels=LABELS, training=_list("a"))
    assert [case.name for case in dataset.cases] == ["a"]
    assert (dataset.unlabelled, dataset.unmasked, dataset.orphan_masks, dataset.ignored) == ((), (), (), ())


def test_nnunet_numbers_the_only_channel_in_the_names_of_images(tmp_path: Path) -> None:
    dataset = _make(
        tmp_path / "set",
        *("imagesTr/a_0000", "labelsTr/a", "imagesTs/b_0000"),
        labels={"background": 0, "organ": 1},
        channel_names={"0": "CT"},
    )
    assert [case.name for case in dataset.cases] == ["a"]
    assert [case.name for case in dataset.unlabelled] == ["b"]
    assert (dataset.labels, dataset.modalities) == ({"organ": 1}, ("CT",))


@pytest.mark.parametrize("ending", [{}, {"file_ending": ".nii.gz"}])
def test_nnunets_one_file_a_channel_is_one_case(tmp_path: Path, ending: dict[str, str]) -> None:
    scans = [f"{folder}/{case}_000{n}" for folder, case in (("imagesTr", "a"), ("imagesTs", "b")) for n in (0, 1)]
    channels = {"0": "T1", "1": "T2"}
    dataset = _make(tmp_path / "set", *scans, "labelsTr/a", labels={"organ": 1}, channel_names=channels, **ending)
    (case,) = dataset.cases
    assert (case.name, _names(case.images), dataset.modalities) == (
        "a",
        ["imagesTr/a_0000", "imagesTr/a_0001"],
        ("T1", "T2"),
    )
    assert [(case.name, _names(case.images)) for case in dataset.unlabelled] == [
        ("b", ["imagesTs/b_0000", "imagesTs/b_0001"])
    ]
    assert dataset.channel_files == ("{case}_0000", "{case}_0001")


def test_the_colours_of_nnunets_pictures_are_channels_of_one_file(tmp_path: Path) -> None:
    colours = {"0": "R", "1": "G", "2": "B"}
    dataset = _make(tmp_path / "set", "imagesTr/a_0000", "labelsTr/a", labels={"organ": 1}, channel_names=colours)
    assert [(case.name, _names(case.images)) for case in dataset.cases] == [("a", ["imagesTr/a_0000"])]
    assert dataset.modalities == ("R", "G", "B")


def test_a_channel_that_is_missing_is_named(tmp_path: Path) -> None:
    scans = ("imagesTr/a_0000", "imagesTr/b_0000", "imagesTr/b_0001")
    dataset = _make(
        tmp_path / "set",
        *(*scans, "labelsTr/a", "labelsTr/b"),
        labels={"organ": 1},
        channel_names={"0": "T1", "1": "T2"},
        file_ending=".nii.gz",
    )
    assert [case.name for case in dataset.cases] == ["b"]
    ((case, path),) = dataset.incomplete
    assert (case, _names((path,))) == ("a", ["imagesTr/a_0001"])


@pytest.mark.parametrize("folder", ["imagesTr", "imagesTs"])
def test_a_channel_that_dataset_json_does_not_name_is_refused(tmp_path: Path, folder: str) -> None:
    scans = [f"imagesTr/a_000{channel}" for channel in (0, 1)] + [f"{folder}/b_000{channel}" for channel in (0, 1, 2)]
    with pytest.raises(DatasetError, match=r"the 2 channels that dataset\.json names; found also b_0002\.nii\.gz"):
        _make(tmp_path / "set", *scans, "labelsTr/a", labels={"organ": 1}, channel_names={"0": "T1", "1": "T2"})


def test_of_several_files_a_case_only_those_that_are_listed_are_used(tmp_path: Path) -> None:
    scans = [f"imagesTr/{case}_000{channel}" for case in "ab" for channel in (0, 1)]
    dataset = _make(
        tmp_path / "set",
        *(*scans, "labelsTr/a", "labelsTr/b"),
        labels={"organ": 1},
        channel_names={"0": "T1", "1": "T2"},
        training=[{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in "ac"],
    )
    assert [case.name for case in dataset.cases] == ["a"]
    assert (_names(dataset.unlisted), _names(dataset.missing)) == (["imagesTr/b_0000"], ["labelsTr/c"])


def test_a_case_listed_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"for the case a; found imagesTr/a\.nii\.gz and imagesTr/a\.nii\.gz"):
        _make(tmp_path / "set", "imagesTr/a", "labelsTr/a", training=_list("a", "a"))


def test_a_test_scan_must_not_have_the_name_of_a_training_case(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"for the case a; found imagesTr/a\.nii\.gz and imagesTs/a\.nii\.gz"):
        _make(tmp_path / "set", "imagesTr/a", "labelsTr/a", "imagesTs/a")


def test_with_a_file_a_channel_neither(tmp_path: Path) -> None:
    scans = [f"{folder}/a_000{channel}" for folder in ("imagesTr", "imagesTs") for channel in (0, 1)]
    with pytest.raises(DatasetError, match="other names in imagesTs than in imagesTr; found a in both"):
        _make(tmp_path / "set", *scans, "labelsTr/a", channel_names={"0": "FLAIR", "1": "T1w"}, file_ending=".nii.gz")


def test_without_imagestr_there_is_no_such_data_set(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match="a folder imagesTr with the scans; found none"):
        decathlon.read(tmp_path)


def test_a_file_a_channel_is_known_by_the_modalities_of_older_descriptions_too(tmp_path: Path) -> None:
    scans = [f"imagesTr/{case}_000{channel}" for case in "ab" for channel in (0, 1)]
    content = {"modality": {"0": "FLAIR", "1": "T1w"}, "training": _list("a", "b")}
    found = _make(tmp_path / "set", *scans, "labelsTr/a", "labelsTr/b", **content)
    assert [(case.name, _names(case.images)) for case in found.cases] == [
        ("a", ["imagesTr/a_0000", "imagesTr/a_0001"]),
        ("b", ["imagesTr/b_0000", "imagesTr/b_0001"]),
    ]
    assert found.missing == ()


def test_a_test_scan_that_lacks_a_channel_is_named(tmp_path: Path) -> None:
    files = ("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a", "imagesTs/t_0001")
    found = _make(tmp_path / "set", *files, channel_names={"0": "FLAIR", "1": "T1w"}, file_ending=".nii.gz")
    assert (found.unlabelled, _names(found.missing_unlabelled)) == ((), ["imagesTs/t_0000"])
