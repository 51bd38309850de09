"""The page of a case: what it shows, how large it is, and how a browser goes through it."""

import base64
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

from pipeline.report import viewer
from pipeline.report.viewer import viewer_page
from pipeline.scan import Scan, Unit

LABELS = {"liver": 1, "a<b>spleen": 4}
RAS = np.diag([2.0, 2.0, 5.0, 1.0])
LPS = np.array([[-2.0, 0, 0, 0], [0, -2, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
ACROSS_X = np.array([[0.0, 0, -5, 0], [2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])
"""Slices across left and right: the third axis runs to the left, the first to the front, the second to the head."""


def scan_of(array: NDArray, affine: NDArray = RAS, unit: Unit = "mm") -> Scan:
    return Scan(array if array.ndim == 4 else array[None], affine.copy(), Path("scan"), unit)


def a_case() -> tuple[Scan, NDArray[np.uint8]]:
    """A volume of 40 x 30 x 12 voxels in which each slice has its own grey; labels in slices 3 to 5 and 5 to 8."""
    array = np.broadcast_to(np.arange(12, dtype=np.int16) * 10, (40, 30, 12)).copy()
    mask = np.zeros((40, 30, 12), np.uint8)
    mask[5:15, 20:28, 3:6] = 1
    mask[25:35, 5:15, 5:9] = 4
    return scan_of(array), mask


def content(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


def numbers(page: str, index: int) -> NDArray[np.uint8]:
    """The labels of a slice, rows from top to bottom."""
    found = content(page)
    width, height = found["pixels"]
    stored = zlib.decompress(base64.b64decode(found["masks"][index]))
    return np.frombuffer(stored, np.uint8).reshape(height, width)


def test_each_slice_is_a_picture_and_only_those_with_a_label_have_a_mask() -> None:
    scan, mask = a_case()
    found = content(viewer_page(scan, mask, labels=LABELS, title="a"))
    assert found["indices"] == list(range(12))
    assert found["pixels"] == [40, 30]
    assert [index for index, each in enumerate(found["masks"]) if each is not None] == [3, 4, 5, 6, 7, 8]
    assert found["labels"][4:7] == [[1], [1, 2], [2]]
    assert found["fullest"] == 5
    greys = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))).mean() for each in found["scans"]]
    assert np.allclose(greys, np.arange(12) / 11 * 255, atol=2)


@pytest.mark.parametrize("affine", [RAS, LPS, ACROSS_X])
def test_a_structure_is_where_it_lies_in_the_patient(affine: NDArray) -> None:
    """One voxel, 2 of 10 from the right side or the front, 1 of 8 from the back or the feet, in slice 3 of 6."""
    mask = np.zeros((10, 8, 6), np.uint8)
    mask[2, 1, 3] = 1
    page = viewer_page(scan_of(np.zeros((10, 8, 6), np.int16), affine), mask, labels=LABELS, title="a")
    found = content(page)
    across_x = affine is ACROSS_X
    index = 5 - 3 if across_x else 3  # slices are numbered in RAS order
    assert [number for number, each in enumerate(found["masks"]) if each is not None] == [index]
    row, column = (int(each[0]) for each in np.nonzero(numbers(page, index)))
    # RAS: x grows to the right of the patient, which is on the left of the picture, and y to the front, which is up
    expected = {"RAS": (8 - 1 - 1, 10 - 1 - 2), "LPS": (1, 2), "sagittal": (8 - 1 - 1, 10 - 1 - 2)}
    assert (row, column) == expected["sagittal" if across_x else "LPS" if affine is LPS else "RAS"]
    assert found["edges"] == (["A", "P", "S", "I"] if across_x else ["R", "L", "A", "P"])


def test_a_picture_has_colours_no_sides_and_a_bar_in_pixels() -> None:
    array = np.zeros((3, 20, 10, 1), np.uint8)
    array[0] = 200
    array[0, 0] = 0
    scan = scan_of(array, np.diag([-1.0, -1, 1, 1]), "px")
    found = content(viewer_page(scan, np.zeros((20, 10, 1), np.uint8), labels={"cell": 1}, title="a"))
    assert (found["edges"], found["plane"], found["bar"]["text"]) == ([], "", "5 px")
    assert Image.open(io.BytesIO(base64.b64decode(found["scans"][0]))).mode == "RGB"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(256, 256, 200), (64, 64, 3000), (3000, 2500, 1), (1, 1, 1), (2, 700, 700)])
def test_no_page_is_larger_than_8_mb_whatever_the_scan(shape: tuple[int, ...], order: Any) -> None:
    chance = np.random.default_rng(0)
    noise = np.asarray(chance.integers(-1000, 1000, shape, np.int16), order=order)
    labels = np.asarray(chance.integers(0, 3, shape, np.uint8), order=order)
    page = viewer_page(scan_of(noise, np.eye(4)), labels, labels={"one": 1, "two": 2}, title="a")
    assert len(page.encode()) < 8e6
    found = content(page)
    assert found["indices"][0] == 0
    steps = set(np.diff(found["indices"]).tolist())
    assert len(steps) <= 1
    said = re.search(r"every\s+(\d+)(?:nd|rd|th) slice is shown", page)
    assert (int(said[1]) if said else 1) == max(steps, default=1)


def test_slices_are_left_out_rather_than_made_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "MOST_BYTES", 30_000)
    chance = np.random.default_rng(0)
    noise = chance.integers(0, 100, (200, 200, 10), np.int16)
    page = viewer_page(scan_of(noise, np.eye(4)), np.zeros(noise.shape, np.uint8), labels={"a": 1}, title="a")
    found = content(page)
    assert len(found["indices"]) < 10
    assert re.search(r"every\s+\d+(nd|rd|th) slice is shown", page)


def test_what_a_name_says_is_text_and_the_same_case_is_the_same_page() -> None:
    scan, mask = a_case()
    first, second = (
        viewer_page(scan, mask, labels={"</script><b>": 1}, title="<i>", reasons=["a < b"]) for _ in range(2)
    )
    assert first == second
    assert "<i>" not in first
    assert "</script><b>" not in first
    assert "a &lt; b" in first


def test_labels_beyond_the_255th_are_left_out() -> None:
    mask = np.array([[[1, 255, 300]]], np.uint16)
    labels = {f"label {value}": value for value in range(1, 301)}
    page = viewer_page(scan_of(np.zeros((1, 1, 3), np.int16)), mask, labels=labels, title="a")
    assert content(page)["labels"] == [[1, 255]]  # of its one slice


def test_labels_that_are_nowhere_come_last_and_are_said_to_be() -> None:
    scan, mask = a_case()
    page = viewer_page(scan, mask, labels={"absent": 7, **LABELS}, title="a")
    assert page.index('aria-label="To the slice with most of liver"') < page.index("absent</label>")
    assert re.search(r"absent</label>\s*none", page)


# --- In a browser


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page of `a_case`, offline; whatever it complains of or asks for fails the test."""
    scan, mask = a_case()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "viewer.html").write_text(viewer_page(scan, mask, labels=LABELS, title="a", reasons=["why"]))
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    opened, complaints, requests = context.new_page(), list[str](), list[str]()
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto((tmp_path / "a" / "viewer.html").as_uri())
    shown(opened, 5)
    yield opened
    context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("data:", "file:"))] == []


def shown(page: Page, index: int) -> None:
    """Wait until a slice is drawn."""
    page.wait_for_selector(f'.slice[data-shown="{index}"]', timeout=5000)


READ_MASK = """
    const canvas = document.querySelector(".mask"), copy = new OffscreenCanvas(canvas.width, canvas.height);
    const pen = copy.getContext("2d", {willReadFrequently: true});
    pen.drawImage(canvas, 0, 0);
    const all = pen.getImageData(0, 0, canvas.width, canvas.height).data;
"""


def painted(page: Page, name: str) -> float:
    """How many pixels of the slice's own are covered by the colour of a label, to the nearest ten."""
    place = list(LABELS).index(name)
    counting = """
        const colour = data.colours[place];
        let count = 0;
        for (let at = 0; at < all.length; at += 4)
            if (all[at + 3] > 0 && colour.every((each, channel) => Math.abs(each - all[at + channel]) < 9)) count++;
        return count / (canvas.width * canvas.height);
    """
    share: float = page.evaluate(f"place => {{ {READ_MASK} {counting} }}", place)
    return round(share * 40 * 30, -1)


def test_the_mask_lies_over_the_slice_with_most_of_it(page: Page) -> None:
    assert page.inner_text(".place") == "axial 6 / 12"
    assert (painted(page, "liver"), painted(page, "a<b>spleen")) == (80, 100)
    assert page.inner_text(".bar") == "20 mm"
    assert [page.inner_text(f".{side}") for side in ("left", "right", "upper", "lower")] == ["R", "L", "A", "P"]


@pytest.mark.parametrize(
    ("key", "index"),
    [("ArrowUp", 6), ("ArrowDown", 4), ("PageUp", 11), ("PageDown", 0), ("Home", 0), ("End", 11), ("n", 6), ("p", 4)],
)
def test_keys_go_through_the_slices(page: Page, key: str, index: int) -> None:
    page.keyboard.press(key)
    shown(page, index)
    page.keyboard.press("f")
    shown(page, 5)


def test_n_and_p_stop_where_no_label_follows(page: Page) -> None:
    for key, index in (("n", 8), ("p", 3)):
        for _ in range(8):
            page.keyboard.press(key)
        shown(page, index)


def test_the_wheel_and_a_drag_go_through_the_slices(page: Page) -> None:
    box = page.locator(".slice").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 200)
    page.mouse.wheel(0, -120)
    shown(page, 7)
    page.mouse.wheel(0, 60)
    shown(page, 6)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 200 - 18, steps=3)
    page.mouse.up()
    shown(page, 9)
    page.mouse.move(box["x"] + 50, box["y"] + 100)
    page.wait_for_timeout(100)
    shown(page, 9)


def test_labels_are_toggled_by_key_by_mouse_and_all_at_once(page: Page) -> None:
    page.keyboard.press("1")
    page.wait_for_function("() => !document.querySelectorAll('.label')[0].checked")
    page.wait_for_timeout(100)
    assert (painted(page, "liver"), painted(page, "a<b>spleen")) == (0, 100)
    page.locator(".label").nth(1).click()
    page.wait_for_timeout(100)
    assert (painted(page, "liver"), painted(page, "a<b>spleen")) == (0, 0)
    page.keyboard.press("m")
    page.wait_for_timeout(100)
    assert (painted(page, "liver"), painted(page, "a<b>spleen")) == (80, 100)
    assert page.locator(".all").is_checked()


def test_a_contour_is_a_thin_line_around_a_filling_that_can_be_taken_away(page: Page) -> None:
    before = painted(page, "liver")
    page.locator(".fill").fill("0")
    counting = "return all.filter((value, at) => at % 4 === 3 && value > 0).length / (canvas.width * canvas.height);"
    covered: float = page.evaluate(f"() => {{ {READ_MASK} {counting} }}")
    assert before == 80
    assert 0.001 < covered < 0.03  # of two labels that cover 15 % of the slice


def test_the_window_is_changed_and_brought_back(page: Page) -> None:
    assert page.inner_text(".ends") == "black 0, white 110"
    page.locator(".brightness").fill("50")
    assert page.inner_text(".ends") == "black -27.5, white 82.5"
    page.locator(".contrast").fill("25")
    assert page.inner_text(".ends") == "black 0, white 55"
    assert page.evaluate("document.querySelector('#window feFuncR').getAttribute('slope')") == "2"
    page.locator(".reset").click()
    assert page.inner_text(".ends") == "black 0, white 110"
    assert page.evaluate("document.querySelector('.scan').style.filter") == ""
    assert page.locator(".window").count() == 0  # those of CT would be without a sense


def test_a_label_s_button_goes_to_the_slice_with_most_of_it(page: Page) -> None:
    page.get_by_label("To the slice with most of a<b>spleen").click()
    shown(page, 5)
    page.get_by_label("To the slice with most of liver").click()
    shown(page, 3)


def test_the_label_under_the_pointer_is_named(page: Page) -> None:
    box = page.locator(".slice").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.2)
    assert page.inner_text(".under") == "liver"  # voxels 5 to 14 of 40 from the left of the patient, 20 to 27 of 30
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    assert page.inner_text(".under") == ""


def test_the_page_says_what_it_is_for_and_why_the_mask_is_to_be_reviewed(page: Page) -> None:
    text = page.inner_text("body")
    assert "For research use only" in text
    assert "no basis for a diagnosis" in text
    assert page.locator(".why li").all_inner_texts() == ["why"]
    assert page.get_attribute("a", "href") == "../report.html"


def test_ct_has_windows_of_its_own(browser: Browser, tmp_path: Path) -> None:
    array = np.linspace(-1024, 1476, 40 * 30 * 12, dtype=np.float32).reshape(40, 30, 12)
    page = viewer_page(scan_of(array), np.zeros(array.shape, np.uint8), labels=LABELS, title="a")
    (tmp_path / "viewer.html").write_text(page)
    opened = browser.new_page()
    opened.goto((tmp_path / "viewer.html").as_uri())
    shown(opened, 6)
    opened.get_by_role("button", name="soft tissue").click()
    assert opened.inner_text(".ends") == "black -160, white 240"
    opened.close()


def test_a_slice_that_cannot_be_decoded_is_not_shown_as_the_one_before(browser: Browser, tmp_path: Path) -> None:
    scan, mask = a_case()
    page = viewer_page(scan, mask, labels=LABELS, title="a")
    (tmp_path / "viewer.html").write_text(page.replace(content(page)["scans"][6], "AAAA"))
    opened = browser.new_page()
    opened.goto((tmp_path / "viewer.html").as_uri())
    shown(opened, 5)
    opened.keyboard.press("ArrowUp")
    opened.wait_for_selector(".complaint:not([hidden])")
    assert "This slice cannot be shown" in opened.inner_text(".complaint")
    assert painted(opened, "liver") == 0
    opened.close()
