import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from pipeline.errors import DatasetError
from pipeline.evaluation.examples import CaseMasks
from pipeline.evaluation.folders import labels_in, read_masks, score_folders
from pipeline.evaluation.scores import FailedCase
from pipeline.formats import registry
from tests.evaluation.masks import AFFINE, CONFIG, row_of, save


@pytest.mark.parametrize("name", ["{}.nii.gz", "{}.nii", "{}/mask.nii.gz", "{}/mask.nii"])
def test_two_folders_are_matched_by_case(tmp_path: Path, name: str) -> None:
    for case, mask in {"a.1": row_of(1, 0), "b": row_of(1, 1)}.items():
        save(tmp_path / "predictions" / name.format(case), mask)
        save(tmp_path / "references" / f"{case}.nii.gz", row_of(1, 1))
    scored = score_folders(tmp_path / "predictions", tmp_path / "references", labels={"heart": 1}, config=CONFIG)
    assert [(score.case, score.dice) for score in scored.scores] == [("a.1", pytest.approx(2 / 3)), ("b", 1.0)]
    assert scored.failed == []


def test_spacing_is_taken_from_the_masks(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", row_of(1, 0, 0), np.diag([1.0, 1.0, 4.0, 1.0]))
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 0, 1), np.diag([1.0, 1.0, 4.0, 1.0]))
    scores = score_folders(tmp_path / "p", tmp_path / "r", labels={"heart": 1}, config=CONFIG).scores
    assert scores[0].hd95 == pytest.approx(8.0)


def test_labels_are_found_in_references_and_in_their_predictions(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", row_of(0, 3, 9))
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 3, 0))
    save(tmp_path / "r" / "b.nii.gz", row_of(0, 200, 1))
    save(tmp_path / "p" / "of-no-reference.nii.gz", row_of(0, 77, 0))
    expected = {"label_1": 1, "label_3": 3, "label_9": 9, "label_200": 200}
    assert labels_in(tmp_path / "p", tmp_path / "r") == expected


def test_a_structure_that_the_predictions_alone_hold_scores_0(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", row_of(0, 3, 9))
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 3, 0))
    labels = labels_in(tmp_path / "p", tmp_path / "r")
    scores = score_folders(tmp_path / "p", tmp_path / "r", labels=labels, config=CONFIG).scores
    assert [(score.label, score.dice) for score in scores] == [("label_3", 1.0), ("label_9", 0.0)]


def test_an_unreadable_reference_does_not_keep_labels_from_being_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 3))
    save(tmp_path / "p" / "a.nii.gz", row_of(0, 0))
    (tmp_path / "r" / "b.nii.gz").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        assert labels_in(tmp_path / "p", tmp_path / "r") == {"label_3": 3}
    assert "No labels are taken from b.nii.gz" in caplog.text


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and references of a case "good" that agree; the tests add a case that cannot be scored."""
    save(tmp_path / "p" / "good.nii.gz", row_of(1, 1))
    save(tmp_path / "r" / "good.nii.gz", row_of(1, 1))
    return tmp_path / "p", tmp_path / "r"


def only_failure(folders: tuple[Path, Path]) -> FailedCase:
    """The one failure among the folders' cases, after checking that the good case was scored."""
    scored = score_folders(*folders, labels={"heart": 1}, config=CONFIG)
    assert [(score.case, score.dice) for score in scored.scores] == [("good", 1.0)]
    (failure,) = scored.failed
    return failure


def test_a_reference_without_a_prediction_is_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    failure = only_failure(folders)
    assert failure.case == "bad"
    assert failure.reason.startswith("Expected one prediction of the case; found none.")


def test_a_case_folder_without_a_mask_is_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "bad" / "other.nii.gz", row_of(1, 1))
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert only_failure(folders).reason.startswith("Expected one prediction of the case; found none.")


def test_two_predictions_of_a_case_are_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "bad.nii.gz", row_of(1, 1))
    save(folders[0] / "bad" / "mask.nii.gz", row_of(1, 1))
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert "found bad.nii.gz and mask.nii.gz" in only_failure(folders).reason


def test_masks_of_different_shapes_are_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "bad.nii.gz", row_of(1, 1, 1))
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert "found shape 3 x 3 x 3 against 3 x 3 x 2. Resample it" in only_failure(folders).reason


def test_masks_at_different_places_are_a_failed_case(folders: tuple[Path, Path]) -> None:
    moved = AFFINE.copy()
    moved[2, 3] = 7.0
    save(folders[0] / "bad.nii.gz", row_of(1, 1), moved)
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert "found positions up to 7 mm apart" in only_failure(folders).reason


@pytest.mark.parametrize(("which", "kind"), [(0, "prediction"), (1, "reference")])
def test_an_unreadable_mask_is_a_failed_case_that_says_which_mask(
    folders: tuple[Path, Path], which: int, kind: str
) -> None:
    for folder in folders:
        save(folder / "bad.nii.gz", row_of(1, 1))
    (folders[which] / "bad.nii.gz").write_bytes(gzip.compress(b"too short"))
    assert f"as the {kind}" in only_failure(folders).reason


def test_a_prediction_without_a_reference_is_left_out_with_a_warning(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    save(folders[0] / "extra.nii.gz", row_of(1, 1))
    with caplog.at_level(logging.WARNING):
        scored = score_folders(*folders, labels={"heart": 1}, config=CONFIG)
    assert ([score.case for score in scored.scores], scored.failed) == (["good"], [])
    assert "1 of 2 predictions have no reference" in caplog.text


def test_hidden_files_are_no_cases(folders: tuple[Path, Path]) -> None:
    (folders[1] / "._good.nii.gz").write_bytes(b"what macOS leaves beside a file")
    scored = score_folders(*folders, labels={"heart": 1}, config=CONFIG)
    assert ([score.case for score in scored.scores], scored.failed) == (["good"], [])


def test_folders_without_a_common_case_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a_0000.nii.gz", row_of(1))
    for case in "abcd":
        save(tmp_path / "r" / f"{case}.nii.gz", row_of(1))
    with pytest.raises(DatasetError, match=r"found 1 mask \(a_0000\) in .*p, 4 masks \(a, b, c, d\) in .*r\. Name"):
        score_folders(tmp_path / "p", tmp_path / "r", labels={"heart": 1}, config=CONFIG)


def test_a_folder_without_masks_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"found no masks in .*empty"):
        score_folders(tmp_path / "empty", folders[1], labels={"heart": 1}, config=CONFIG)


def test_a_folder_that_does_not_exist_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found .*nowhere, which is none\. Check the path"):
        score_folders(tmp_path / "nowhere", folders[1], labels={"heart": 1}, config=CONFIG)


def test_masks_without_any_structure_have_no_labels(tmp_path: Path) -> None:
    for folder in ("p", "r"):
        save(tmp_path / folder / "a.nii.gz", row_of(0, 0))
    with pytest.raises(DatasetError, match="found no value above 0 in any mask"):
        labels_in(tmp_path / "p", tmp_path / "r")


@pytest.mark.parametrize("suffix", ["_mask", "_seg", "_label"])
def test_references_may_be_called_as_the_masks_of_a_data_set_are(tmp_path: Path, suffix: str) -> None:
    for case in ("a", "b_seg"):
        save(tmp_path / "p" / f"{case}.nii.gz", row_of(1, 1))
    save(tmp_path / "r" / f"a{suffix}.nii.gz", row_of(1, 1))
    save(tmp_path / "r" / "b_seg.nii.gz", row_of(1, 1))
    scored = score_folders(tmp_path / "p", tmp_path / "r", labels={"heart": 1}, config=CONFIG)
    assert ([score.case for score in scored.scores], scored.failed) == (["a", "b_seg"], [])


def test_the_content_of_each_scored_reference_is_known(folders: tuple[Path, Path]) -> None:
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    scored = score_folders(*folders, labels={"heart": 1}, config=CONFIG)
    assert scored.reference_hashes == {"good": registry.read_mask(folders[1] / "good.nii.gz").content_hash()}


def test_masks_are_read_again_and_one_that_is_gone_is_an_error_in_its_place(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    save(folders[0] / "extra.nii.gz", row_of(1, 1))
    with caplog.at_level(logging.WARNING):
        gone, good = read_masks(*folders, ["gone", "good"])
    assert isinstance(gone, DatasetError)
    assert str(gone).startswith("Expected one prediction of the case; found none.")
    assert isinstance(good, CaseMasks)
    assert (good.prediction.tolist(), good.scan) == (row_of(1, 1).tolist(), None)
    assert caplog.text == ""  # what scoring has warned of is not said twice


def test_a_picture_is_not_scored_against_a_scan_of_the_same_numbers(folders: tuple[Path, Path]) -> None:
    Image.fromarray(np.ones((4, 5), np.uint8)).save(folders[0] / "bad.png")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((1, 4, 5), np.uint8)), str(folders[1] / "bad.nii.gz"))
    failure = only_failure(folders)
    assert failure.case == "bad"
    assert "found pixels of unknown size against a spacing in mm" in failure.reason


def test_pictures_among_scans_are_failed_cases(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        Image.fromarray(np.ones((4, 5), np.uint8)).save(folder / "zzz.png")
    assert "Score the two kinds apart" in only_failure(folders).reason


def test_masks_without_a_common_value_are_coded_in_other_ways(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", row_of(0, 1))
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 255))
    with pytest.raises(DatasetError, match="a label in common; found the values 1 in those, and 255 in these"):
        labels_in(tmp_path / "p", tmp_path / "r")
