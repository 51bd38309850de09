"""Pictures have no spacing: what is measured of them is in pixels, from the scores to the comparison."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.evaluation.comparison import compare_evaluations
from pipeline.evaluation.comparison_record import comparison_content, write_comparison
from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import CaseScore, score_case, unit_of
from pipeline.evaluation.statistics import summarise
from pipeline.evaluation.stored import read_evaluation
from pipeline.scan import Scan, Unit
from tests.evaluation.masks import CONFIG, summary_of

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def square(first: int, last: int) -> NDArray[np.uint8]:
    """A picture of 12 x 12 pixels with a square from one pixel to another, both in it."""
    mask = np.zeros((12, 12, 1), np.uint8)
    mask[first : last + 1, first : last + 1] = 1
    return mask


def score(case: str = "a", unit: Unit = "px", prediction: NDArray[np.uint8] | None = None) -> CaseScore:
    truth = Scan(square(2, 5)[None], LPS.copy(), Path("a.png"), unit)
    mask = square(2, 6) if prediction is None else prediction
    (found,) = score_case(case, mask, truth, labels={"cell": 1}, config=CONFIG)
    return found


def written(folder: Path, scores: list[CaseScore]) -> Path:
    summary = summarise(scores, ["cell"], CONFIG, excluded_training_cases=0, failed=[])
    write_evaluation(folder, scores, summary=summary, provenance={})
    return folder


def test_sizes_are_numbers_of_pixels_and_distances_too() -> None:
    found = score()
    assert (found.unit, found.reference_size, found.predicted_size, found.volume_error) == ("px", 16, 25, 9)
    assert found.hd95 == pytest.approx(score(unit="mm").hd95)
    assert score(unit="mm").reference_size == pytest.approx(0.016)


def test_files_and_report_name_the_unit(tmp_path: Path) -> None:
    folder = written(tmp_path, [score()])
    summary = json.loads((folder / "metrics.json").read_text())
    assert {"hd95_px", "asd_px", "volume_error_px", "dice"} <= set(summary["labels"]["cell"])
    assert summary["nsd_tolerance_px"] == 1.0
    (row,) = csv.DictReader((folder / "cases.csv").read_text().splitlines())
    assert (row["reference_px"], row["predicted_px"], row["volume_error_px"]) == ("16.0", "25.0", "9.0")
    page = (folder / "report.html").read_text()
    assert "HD95 (px)" in page
    assert "within 1.0&nbsp;px" in page
    assert not [name for name in (*summary, *summary["labels"]["cell"], *row) if name.endswith(("_mm", "_ml"))]
    assert not [words for words in (" mm", "&nbsp;mm", "(mm)", "(ml)", "right is on") if words in page]
    assert (folder / "figures" / "hd95_px.svg").is_file()


def test_an_evaluation_of_scans_after_one_of_pictures_leaves_no_figure_of_it(tmp_path: Path) -> None:
    written(tmp_path, [score()])
    written(tmp_path, [score(unit="mm")])
    assert not list((tmp_path / "figures").glob("*_px.*"))


def test_two_evaluations_of_pictures_are_compared_in_pixels(tmp_path: Path) -> None:
    before = read_evaluation(written(tmp_path / "old", [score()]), "old")
    after = read_evaluation(written(tmp_path / "new", [score(prediction=square(2, 5))]), "new")
    assert (before.unit, before.nsd_tolerance) == ("px", 1.0)
    pairs = compare_evaluations(before, [after], CONFIG)
    content = comparison_content(pairs, {})
    write_comparison(tmp_path / "out", pairs, content)
    assert content["comparisons"][0]["labels"]["cell"]["absolute_volume_error_px"]["mean_difference"] == -9.0
    (row,) = csv.DictReader((tmp_path / "out" / "comparison.csv").read_text().splitlines())
    assert float(row["hd95_px_difference"]) == pytest.approx(-(score().hd95 or 0.0))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "HD95 (px)" in page
    assert "(mm)" not in page


def test_pictures_are_not_compared_with_scans(tmp_path: Path) -> None:
    pictures = read_evaluation(written(tmp_path / "old", [score()]), "old")
    scans = read_evaluation(written(tmp_path / "new", [score(unit="mm")]), "new")
    with pytest.raises(DatasetError, match=r"in one unit \(px in old\); found mm in new"):
        compare_evaluations(pictures, [scans], CONFIG)


def test_there_is_no_mean_of_millimetres_and_pixels() -> None:
    with pytest.raises(DatasetError, match=r"masks with and without \(PNG, TIFF ...\). Score the two kinds apart"):
        summary_of([score("a"), score("b", unit="mm")])
    assert unit_of([]) == "mm"
