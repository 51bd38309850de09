import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DatasetError
from pipeline.layouts.dataset_json import Description, read_description


def _read(root: Path, **content: Any) -> Description:
    (root / "dataset.json").write_text(json.dumps(content))
    return read_description(root)


def test_the_decathlon_maps_values_to_names(tmp_path: Path) -> None:
    description = _read(tmp_path, labels={"0": "background", "2": "posterior", "1": "anterior"}, modality={"0": "MRI"})
    assert list((description.labels or {}).items()) == [("anterior", 1), ("posterior", 2)]
    assert description.modalities == ("MRI",)


def test_nnunet_maps_names_to_values(tmp_path: Path) -> None:
    labels = {"background": 0, "posterior": 2, "anterior": 1}
    description = _read(tmp_path, labels=labels, channel_names={"0": "CT"})
    assert list((description.labels or {}).items()) == [("anterior", 1), ("posterior", 2)]
    assert description.modalities == ("CT",)


def test_channels_are_ordered_by_their_number_and_not_by_the_file(tmp_path: Path) -> None:
    assert _read(tmp_path, modality={"1": "T1w", "0": "FLAIR"}).modalities == ("FLAIR", "T1w")
    ten = {str(channel): f"c{channel}" for channel in sorted(range(11), key=str)}  # 0, 1, 10, 2, ...
    assert _read(tmp_path, modality=ten).modalities[10] == "c10"


def test_unknown_keys_are_no_error(tmp_path: Path) -> None:
    assert _read(tmp_path, name="Heart", licence="CC", numTraining=3).name == "Heart"


def test_no_file_describes_nothing(tmp_path: Path) -> None:
    assert read_description(tmp_path) == Description()


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"name": "Heart"}', encoding="utf-8-sig")
    assert read_description(tmp_path).name == "Heart"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": {"background": 0, "tumour": [1, 2]}}, "regions that consist of several values are not supported"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "the label 'ignore' of nnU-Net is not supported"),
        ({"labels": {"background": 0, "a": 1.5}}, r"labels\.a: .* found 1\.5"),
        ({"labels": {"background": 0, "a": True}}, r"labels\.a: .* found True"),
        ({"labels": {"0": "background", "a": "anterior"}}, r"labels\.a: .* found 'anterior'"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, r"distinct names, found \['background', 'a', 'a'\]"),
        ({"labels": {"a": 1, "b": 1}}, r"distinct values between 1 and 65535, found \[1, 1\]"),
        ({"labels": {"a": 70000}}, r"distinct values between 1 and 65535, found \[70000\]"),
        ({"labels": {"a": -1}}, r"distinct values between 1 and 65535, found \[-1\]"),
        ({"labels": ["a", "b"]}, r"labels: .* found \['a', 'b'\]"),
        (
            {"modality": {"0": "MRI", "2": "CT"}},
            r"modality must number the channels from 0 without gaps, found \['0', '2'\]",
        ),
        ({"channel_names": {}}, r"channel_names must number the channels from 0 without gaps, found \[\]"),
        ({"training": [{"image": "a.nii.gz"}]}, r"training\.0\.label: is missing"),
        ({"training": "all"}, r"training: .* found 'all'"),
        ({"test": [{"image": "a.nii.gz"}]}, r"test\.0: "),
    ],
)
def test_a_broken_description_is_an_error_that_names_the_key(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        _read(tmp_path, **content)


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(?s)2 problems.*labels\.a: .*modality must number"):
        _read(tmp_path, labels={"a": "x"}, modality={"1": "CT"})


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "valid JSON; found .*does not parse"), ("[]", "valid dictionary"), ("\xff", "does not parse")],
)
def test_what_is_no_json_object_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(DatasetError, match=message):
        read_description(tmp_path)


def test_a_dataset_json_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").mkdir()
    with pytest.raises(DatasetError, match=r"a readable file; found .*Is a directory"):
        read_description(tmp_path)
