import json
from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import FailedCase
from pipeline.evaluation.stored import holds_evaluation, read_evaluation
from tests.evaluation.masks import LABELS, row_of, scores_of, summary_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evaluation of case a, whose lung is absent from both masks; case b failed."""
    scores = scores_of("a", row_of(1, 0), row_of(1, 1), LABELS)
    summary = summary_of(scores, tuple(LABELS), failed=[FailedCase("b", "Expected a mask; found none.")])
    write_evaluation(tmp_path, scores, summary=summary, provenance={"cases_digest": "abc"})
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    read = read_evaluation(folder, "mine")
    assert (read.name, read.labels, sorted(read.cases)) == ("mine", ["heart", "lung"], ["a"])
    assert read.failed == {"b": "Expected a mask; found none."}
    assert (read.nsd_tolerance, read.cases_digest) == (1.0, "abc")
    # one of two voxels found; the voxel is 2 mm3
    assert read.scores["a", "heart"]["dice"] == pytest.approx(2 / 3)
    assert (read.scores["a", "heart"]["volume_error"], read.scores["a", "heart"]["reference_size"]) == (-0.002, 0.004)
    assert read.scores["a", "lung"]["dice"] is None


def test_an_evaluation_of_an_older_version_has_no_digest(folder: Path) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    content["provenance"] = {}
    (folder / "metrics.json").write_text(json.dumps(content))
    assert read_evaluation(folder, "mine").cases_digest is None


def test_a_folder_holds_an_evaluation_where_both_files_are_there(folder: Path) -> None:
    assert holds_evaluation(folder)
    (folder / "cases.csv").unlink()
    assert not holds_evaluation(folder)


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("metrics.json", "{", "JSONDecodeError"),
        ("metrics.json", "[]", "TypeError"),
        ("metrics.json", '{"labels": {}}', "KeyError: 'nsd_tolerance_mm'"),
        ("metrics.json", '{"labels": [], "nsd_tolerance_mm": 1}', "AttributeError"),
        ("cases.csv", "case,label,status\na,heart,ok\n", "KeyError: 'dice'"),
        ("cases.csv", "some,other,table\n1,2,3\n", "KeyError: 'status'"),
    ],
)
def test_files_of_something_else_are_refused(folder: Path, file: str, content: str, why: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(
        DatasetError, match=rf"Expected an evaluation .*cannot be read as one \({why}.*\. Give a folder"
    ):
        read_evaluation(folder, "mine")


@pytest.mark.parametrize("cell", ["nan", "inf", "good"])
def test_a_score_that_is_no_number_is_refused(folder: Path, cell: str) -> None:
    table = (folder / "cases.csv").read_text()
    dice = str(2 / 3)
    assert table.count(dice) == 1
    (folder / "cases.csv").write_text(table.replace(dice, cell))
    with pytest.raises(DatasetError, match=rf"cannot be read as one \(ValueError: .*{cell}"):
        read_evaluation(folder, "mine")
