import csv
import json
from pathlib import Path

import pytest

from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import FailedCase
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


def test_nothing_but_the_three_files_is_written(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [], summary=summary_of([]), provenance={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "metrics.json", "report.html"]
