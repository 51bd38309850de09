import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.evaluation.metric_names import METRICS, name_in
from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import FailedCase
from pipeline.report.html import Overlay
from tests.evaluation.masks import LABELS, row_of, scores_of, summary_of


def test_metrics_json_holds_the_summary_and_no_nan(tmp_path: Path) -> None:
    scores = scores_of("a", row_of(0, 0), row_of(1, 1), LABELS)
    summary = summary_of(scores, ("heart", "lung"))
    write_evaluation(tmp_path / "new" / "out", scores, summary=summary, provenance={"split": "test"})
    text = (tmp_path / "new" / "out" / "metrics.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content == {**summary, "provenance": {"split": "test"}}


def test_cases_csv_has_a_row_for_every_case_and_label_failed_ones_included(tmp_path: Path) -> None:
    scores = scores_of("a", row_of(1, 0), row_of(1, 0), LABELS)
    summary = summary_of(scores, ("heart", "lung"), failed=[FailedCase("b", "Expected a mask; found none.")])
    write_evaluation(tmp_path, scores, summary=summary, provenance={})
    with (tmp_path / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["label"], row["status"]) for row in rows] == [
        ("a", "heart", "ok"),
        ("a", "lung", "ok"),
        ("b", "heart", "failed"),
        ("b", "lung", "failed"),
    ]
    assert (rows[0]["dice"], rows[0]["reference_ml"], rows[1]["dice"], rows[2]["dice"]) == ("1.0", "0.002", "", "")
    assert (rows[0]["reason"], rows[2]["reason"]) == ("", "Expected a mask; found none.")


def test_report_html_shows_the_cases(tmp_path: Path) -> None:
    scores = scores_of("a<b>", row_of(1, 0), row_of(1, 0), LABELS)
    write_evaluation(tmp_path, scores, summary=summary_of(scores, ("heart", "lung")), provenance={})
    assert "a&lt;b&gt;" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.drawn
def test_each_metric_is_drawn_in_the_report_and_as_svg_and_pdf_beside_it(tmp_path: Path) -> None:
    scores = scores_of("a", row_of(1, 0), row_of(1, 1), LABELS)
    write_evaluation(tmp_path, scores, summary=summary_of(scores, ("heart", "lung")), provenance={})
    expected = sorted(f"{name_in('mm', metric)}.{ending}" for metric in METRICS for ending in ("svg", "pdf"))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == expected
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg role") == len(METRICS)
    dice = page[page.index("<svg role") : page.index("</svg>")]
    assert re.findall(r">(heart|lung|n = .)</", dice) == ["heart", "n = 1", "lung", "n = 0"]


def test_what_an_earlier_evaluation_left_goes_before_anything_is_written(tmp_path: Path) -> None:
    scores = scores_of("a", row_of(1, 0), row_of(1, 1), LABELS)
    summary = summary_of(scores, ("heart", "lung"))
    write_evaluation(tmp_path, scores, summary=summary, provenance={})
    (tmp_path / "figures" / "mine.svg").write_text("a user's own")

    def interrupted() -> Iterator[Overlay]:
        raise KeyboardInterrupt("while drawing")
        yield

    with pytest.raises(KeyboardInterrupt, match="while drawing"):
        write_evaluation(tmp_path, scores, summary={**summary, "cases": 7}, provenance={}, overlays=interrupted())
    assert json.loads((tmp_path / "metrics.json").read_text())["cases"] == 7
    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / "figures" / "mine.svg").exists()


def test_an_evaluation_without_any_score_has_its_files_too(tmp_path: Path) -> None:
    failed = [FailedCase("a", "Expected a mask; found none.")]
    write_evaluation(tmp_path, [], summary=summary_of([], failed=failed), provenance={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "figures", "metrics.json", "report.html"]


def test_the_numbers_are_written_before_the_first_picture_is_drawn(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Overlay]:
        raise KeyboardInterrupt
        yield

    scores = scores_of("a", row_of(1, 0), row_of(1, 0), LABELS)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        write_evaluation(
            tmp_path, scores, summary=summary_of(scores, ("heart", "lung")), provenance={}, overlays=interrupted()
        )
    assert (tmp_path / "metrics.json").is_file()
    assert (tmp_path / "cases.csv").is_file()
