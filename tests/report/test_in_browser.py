"""The pages as a browser shows them, without a network: sorting, pictures, colours, and no request to anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from pipeline.config.evaluation import EvaluationConfig
from pipeline.evaluation.comparison import compare_evaluations
from pipeline.evaluation.comparison_record import comparison_content, write_comparison
from pipeline.evaluation.examples import CaseMasks, choose_examples, draw_examples
from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import CaseScore, FailedCase
from pipeline.evaluation.stored import read_evaluation
from pipeline.scan import Scan
from tests.evaluation.masks import LABELS, scores_of, summary_of

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass
class Opened:
    """A page, and what happened while it was open."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note what happens from now on."""
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    @property
    def foreign_requests(self) -> list[str]:
        """Requests for anything but the page itself and what it holds."""
        return [url for url in self.requests if url != self.page.url and not url.startswith("data:")]


@pytest.fixture(params=SCHEMES)
def opened(browser: Browser, request: pytest.FixtureRequest, pages: dict[str, Path]) -> Iterator[dict[str, Opened]]:
    """Each page, in light and in dark colours, with the network off."""
    context = browser.new_context(color_scheme=request.param, offline=True, viewport={"width": 1280, "height": 900})
    result = {name: Opened(context.new_page()) for name in pages}
    for name, each in result.items():
        each.watch()
        each.page.goto(pages[name].as_uri())
    yield result
    context.close()


def case_scores(name: str, found: int) -> tuple[list[CaseScore], CaseMasks]:
    """A case whose heart is 8 voxels wide, of which so many are found."""
    reference = np.zeros((16, 12, 12), np.uint8)
    reference[4:12, 4:8, 4:8], reference[4:12, 8:10, 8:10] = 1, 2
    prediction = reference.copy()
    prediction[4 + found : 12] = 0
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    masks = CaseMasks(prediction, Scan(reference[None], affine, Path("reference.nii.gz")), None)
    return scores_of(name, prediction, reference, LABELS), masks


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of an evaluation with a failed case, and that of its comparison with another one."""
    root = tmp_path_factory.mktemp("pages")
    for run, more in (("old", 0), ("new", 1)):
        done = {f"case_{found}": case_scores(f"case_{found}", found + more) for found in (3, 1, 2, 5, 4, 6)}
        scores = [score for case, _ in done.values() for score in case]
        failed = [FailedCase("broken", "Expected a whole file; found half of one.")]
        examples = choose_examples(scores)
        overlays = draw_examples(examples, [done[example.case][1] for example in examples], LABELS)
        summary = summary_of(scores, tuple(LABELS), failed=failed)
        write_evaluation(root / run, scores, summary=summary, provenance={"cases_digest": "same"}, overlays=overlays)
    pairs = compare_evaluations(
        read_evaluation(root / "old", "old"), [read_evaluation(root / "new", "new")], EvaluationConfig()
    )
    write_comparison(root / "compared", pairs, comparison_content(pairs, {}))
    return {"evaluation": root / "old" / "report.html", "comparison": root / "compared" / "report.html"}


def column(page: Page, place: int) -> list[str]:
    """The cells of a column of the sortable table, counted from 0."""
    cells: list[str] = page.locator(f"table.sortable tbody tr > :nth-child({place + 1})").all_inner_texts()
    return cells


def test_a_page_asks_for_nothing_and_complains_of_nothing(opened: dict[str, Opened]) -> None:
    for each in opened.values():
        each.page.locator("table.sortable th button").first.click()
        each.page.mouse.wheel(0, 20000)
        assert each.complaints == []
        assert each.foreign_requests == []


def test_every_picture_is_decoded_and_described(opened: dict[str, Opened]) -> None:
    page = opened["evaluation"].page
    widths = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert widths == [1008, 1008, 1008]
    assert all(page.evaluate("[...document.images].map(i => i.alt)"))
    for each in opened.values():
        drawings = each.page.locator("svg[role=img]")
        assert drawings.count() > 0
        assert all(drawings.evaluate_all("all => all.map(s => s.getAttribute('aria-label'))"))


def test_a_click_on_a_heading_sorts_and_another_one_turns_the_order(opened: dict[str, Opened]) -> None:
    page = opened["evaluation"].page
    dice = page.locator("table.sortable th", has_text="Dice")
    place = page.locator("table.sortable thead th").all_inner_texts().index("Dice")
    dice.get_by_role("button").click()
    rising = column(page, place)
    numbers = [float(cell) for cell in rising[:-2]]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 4
    assert rising[-2:] == ["–", "–"]  # noqa: RUF001
    assert column(page, 0)[-2:] == ["broken", "broken"]
    assert dice.get_attribute("aria-sort") == "ascending"
    dice.get_by_role("button").click()
    falling = column(page, place)
    assert falling[:-2] == rising[:-2][::-1]
    assert falling[-2:] == ["–", "–"]  # noqa: RUF001


def test_names_are_sorted_as_names_and_comparisons_by_their_difference(opened: dict[str, Opened]) -> None:
    page = opened["evaluation"].page
    page.locator("table.sortable th", has_text="Case").get_by_role("button").click()
    assert column(page, 0) == [name for name in ("broken", *(f"case_{n}" for n in range(1, 7))) for _ in LABELS]
    page = opened["comparison"].page
    page.locator("table.sortable th", has_text="difference").first.get_by_role("button").click()
    numbers = [float(cell) for cell in column(page, 7)[:-2]]
    assert numbers == sorted(numbers)


def test_a_case_with_a_picture_leads_to_it(opened: dict[str, Opened]) -> None:
    page = opened["evaluation"].page
    page.locator("table.sortable a", has_text="case_6").first.click()
    assert page.url.endswith("#overlay-best")
    assert page.locator("#overlay-best img").is_visible()


def test_letters_of_drawings_have_the_pages_colour_and_stay_inside(opened: dict[str, Opened]) -> None:
    for each in opened.values():
        ink = each.page.evaluate("getComputedStyle(document.querySelector('h1')).color")
        fills = each.page.evaluate(
            "[...new Set([...document.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill))]"
        )
        assert fills == [ink]
        outside = each.page.evaluate(
            """[...document.querySelectorAll("svg text")].filter(text => {
                const inner = text.getBoundingClientRect(), outer = text.closest("svg").getBoundingClientRect();
                return inner.left < outer.left - 2 || inner.right > outer.right + 2 || inner.bottom > outer.bottom + 2;
            }).map(text => text.textContent)"""
        )
        assert outside == []


def test_a_page_is_no_wider_than_its_window(opened: dict[str, Opened]) -> None:
    for each in opened.values():
        for width in (1280, 700, 400):
            each.page.set_viewport_size({"width": width, "height": 900})
            assert each.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_can_be_read_without_javascript(browser: Browser, pages: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(pages["evaluation"].as_uri())
    assert page.locator("table.sortable tbody tr").count() == 14  # six cases and a failed one, of two labels
    assert page.locator("svg[role=img]").count() == 8
    context.close()
