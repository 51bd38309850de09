import re
from typing import Any

import pytest

from pipeline import __version__
from pipeline.report.html import Overlay, evaluation_report, number, prediction_report

HOSTILE = '<script>alert("1")</script>'
STATISTICS = {"mean": 0.75, "std": 0.354, "median": 0.7512, "ci95": [0.5, 1.0], "n": 2}
UNDEFINED = {"mean": None, "std": None, "median": None, "ci95": None, "n": 0}


def summary(**changes: Any) -> dict[str, Any]:
    """The content of a metrics.json with one label."""
    return {
        "cases": 3,
        "excluded_training_cases": 17,
        "mean_dice": 0.8125,
        "labels": {"anterior": {"dice": STATISTICS, "hd95_mm": UNDEFINED}},
        "empty_masks": {
            "rule": "Empty masks are counted.",
            "both_empty": {"anterior": 41},
            "one_empty": {"anterior": 42},
        },
        "nsd_tolerance_mm": 1.5,
        "failed_cases": [],
        **changes,
    }


def score(**changes: Any) -> dict[str, Any]:
    """A row of the table of cases."""
    return {"case": "patient7", "label": "anterior", "dice": 0.61234, "hd95_mm": None, **changes}


def prediction(**changes: Any) -> dict[str, Any]:
    """A row of the table of predicted cases."""
    row = {"case": "scan1", "status": "ok", "reason": None, "anterior_ml": 1.2345, "preview": "scan1/preview.png"}
    return {**row, **changes}


def cells(page: str) -> list[str]:
    """The text of every table cell."""
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, flags=re.DOTALL)
    return [" ".join(text.replace("&nbsp;", " ").split()) for text in found]


def test_an_evaluation_shows_every_statistic_of_a_label_and_metric() -> None:
    shown = cells(evaluation_report(summary(), [score()], {}))
    first = shown.index("anterior")
    assert shown[first : first + 7] == ["anterior", "Dice", "0.750", "0.500 to 1.000", "0.354", "0.751", "2"]


def test_what_is_undefined_is_a_dash() -> None:
    shown = cells(evaluation_report(summary(), [score()], {}))
    first = shown.index("HD95 (mm)")
    assert shown[first : first + 6] == ["HD95 (mm)", "–", "–", "–", "–", "0"]  # noqa: RUF001


def test_an_evaluation_shows_its_counts_and_the_mean_dice() -> None:
    page = evaluation_report(summary(), [score()], {})
    tiles = re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", page)
    assert tiles == [
        ("Mean Dice", "0.812"),
        ("Cases scored", "3"),
        ("Cases failed", "0"),
        ("Cases left out", "17"),
    ]
    parts = summary() | {"left_out": {"train": 17, "unknown": 3}}
    assert "<dt>Cases left out</dt><dd>20</dd>" in evaluation_report(parts, [score()], {})


def test_an_evaluation_states_the_rule_for_empty_masks_with_its_counts_and_the_tolerance() -> None:
    page = evaluation_report(summary(), [score()], {})
    shown = cells(page)
    assert "Empty masks are counted." in page
    assert "within 1.5&nbsp;mm" in page
    assert shown[shown.index("41") - 1 : shown.index("41") + 2] == ["anterior", "41", "42"]


def test_an_evaluation_has_a_row_for_every_case_and_label() -> None:
    shown = cells(evaluation_report(summary(), [score(), score(label="posterior", dice=0.5)], {}))
    first = shown.index("patient7")
    second = first + 5
    assert shown[first:second] == ["patient7", "anterior", "ok", "0.612", "–"]  # noqa: RUF001
    assert shown[second : second + 5] == ["patient7", "posterior", "ok", "0.500", "–"]  # noqa: RUF001


def test_a_failed_case_has_its_rows_among_the_others() -> None:
    failed = {"case": "broken", "label": "anterior", "status": "failed", "reason": "Expected a mask; found none."}
    shown = cells(evaluation_report(summary(), [score(), failed], {}))
    first = shown.index("broken")
    assert shown[first : first + 5] == ["broken", "anterior", "failed", "–", "–"]  # noqa: RUF001


def test_a_case_with_a_picture_leads_to_it() -> None:
    overlays = [Overlay("best", "patient7", 0.61234, png=b"PNG", on_scan=True), Overlay("worst", "x", 0.1, problem="!")]
    page = evaluation_report(summary(), [score(), score(case="x")], {}, overlays=overlays)
    assert '<a href="#overlay-best">patient7</a>' in page
    assert 'id="overlay-best"' in page
    assert 'src="data:image/png;base64,UE5H" alt="Sagittal, coronal and axial plane of case patient7: ' in page
    assert '"#overlay-worst"' not in page


def test_a_picture_that_could_not_be_drawn_is_told_of() -> None:
    overlays = [Overlay("best", "x", 0.1, problem="Expected <this>; found that.")]
    page = evaluation_report(summary(), [], {}, overlays=overlays)
    assert "No picture could be drawn." in page
    assert "Expected &lt;this&gt;; found that." in page
    assert "<img" not in page


def test_a_picture_of_masks_alone_says_so() -> None:
    note = "Masks alone, because no scans were given"
    assert note in evaluation_report(summary(), [], {}, overlays=[Overlay("best", "x", 0.1, png=b"PNG")])
    overlay = Overlay("best", "x", 0.1, png=b"PNG", on_scan=True)
    assert note not in evaluation_report(summary(), [], {}, overlays=[overlay])


def test_failed_cases_are_listed_with_their_reason_and_only_where_there_are_any() -> None:
    failed = summary(failed_cases=[{"case": "broken", "reason": "Expected a whole file; found half of one."}])
    reason = "Expected a whole file; found half of one."
    assert cells(evaluation_report(failed, [], {}))[-2:] == ["broken", reason]
    assert "Failed cases" not in evaluation_report(summary(), [score()], {})


def test_provenance_is_shown_with_dotted_names() -> None:
    shown = cells(evaluation_report(summary(), [], {"model": {"hash": "abc", "run": None}, "split": "test"}))
    assert shown[-6:] == ["model.hash", "abc", "model.run", "–", "split", "test"]  # noqa: RUF001


def test_a_page_names_the_version_that_made_it() -> None:
    assert f"medseg {__version__}" in evaluation_report(summary(), [], {})


@pytest.mark.parametrize(
    "page",
    [
        evaluation_report(
            summary(failed_cases=[{"case": HOSTILE, "reason": HOSTILE}]), [score(case=HOSTILE)], {"a": HOSTILE}
        ),
        prediction_report([prediction(case=HOSTILE, reason=HOSTILE, preview=HOSTILE)], [HOSTILE], {HOSTILE: "a"}),
    ],
    ids=["evaluation", "prediction"],
)
def test_names_that_look_like_html_are_text(page: str) -> None:
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    ("page", "addresses"),
    [
        (evaluation_report(summary(), [score()], {}), ["data:,"]),
        (prediction_report([prediction()], ["anterior"], {}), ["data:,", *["scan1/preview.png"] * 3]),
    ],
    ids=["evaluation", "prediction"],
)
def test_a_page_asks_for_nothing_from_elsewhere(page: str, addresses: list[str]) -> None:
    assert re.findall(r'(?:src|href|srcset|action)="([^"]*)"', page) == addresses
    assert not re.search(r"https?:|@import|url\(", page)


def test_predictions_that_need_a_person_come_first_and_keep_their_order() -> None:
    statuses = {"a": "ok", "b": "skipped", "c": "review", "d": "failed", "e": "ok", "f": "failed"}
    page = prediction_report([prediction(case=case, status=status) for case, status in statuses.items()], [], {})
    assert re.findall(r'<th scope="row" class="name"><a [^>]*>(.)</a></th>', page) == ["c", "d", "f", "a", "e", "b"]


def test_a_case_leads_to_its_page_and_to_its_picture_where_it_has_none() -> None:
    rows = [prediction(case="a", viewer="a/viewer.html"), prediction(case="b"), prediction(case="c", preview=None)]
    page = prediction_report(rows, [], {})
    assert re.findall(r'class="name">(?:<a href="(.*?)">)?(.)<', page) == [
        ("a/viewer.html", "a"),
        ("scan1/preview.png", "b"),
        ("", "c"),
    ]


def test_a_banner_is_shown_where_there_is_one() -> None:
    assert 'role="alert">12 of 40 &lt;' in prediction_report([prediction()], [], {}, banner="12 of 40 <")
    assert "role=" not in prediction_report([prediction()], [], {})


def test_predictions_are_counted_by_status() -> None:
    rows = [prediction(status=status) for status in ("ok", "ok", "review", "failed", "failed", "failed")]
    tiles = re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", prediction_report(rows, [], {}))
    assert tiles == [("Done", "2"), ("To look at again", "1"), ("Failed", "3"), ("Skipped, no scan", "0")]


def test_a_volume_is_in_ml_or_in_pixels_or_missing() -> None:
    row = {"case": "x", "status": "review", "reason": "cut off", "a_ml": 1.2345, "b_px": 120, "c_ml": None}
    shown = cells(prediction_report([row], ["a", "b", "c"], {}))
    assert shown[shown.index("x") :] == ["x", "review", "cut off", "", "1.234 ml", "120 px", "–"]  # noqa: RUF001


def test_a_preview_is_found_although_its_path_has_signs_that_addresses_use() -> None:
    page = prediction_report([prediction(preview="scan #1?/50%.png")], [], {})
    assert 'src="scan%20%231%3F/50%25.png"' in page


def test_a_case_without_a_preview_has_no_picture() -> None:
    assert "<img" not in prediction_report([prediction(preview=None)], [], {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91349, "0.913"),
        (0.00042, "0.00042"),
        (0.05, "0.050"),
        (-0.0234, "-0.023"),
        (1.0, "1.000"),
        (0.0, "0.000"),
        (12, "12"),
        (1234.5678, "1234.568"),
    ],
)
def test_numbers_have_three_decimals_or_two_digits_where_they_are_small(value: float, text: str) -> None:
    assert number(value) == text
