import io
import time

import pytest
from rich.console import Console

from pipeline.commands.progress import progress_line, readable_seconds


class Minutes:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def pass_by(self, minutes: float) -> None:
        self.now += 60 * minutes


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Minutes:
    return Minutes(monkeypatch)


def test_the_time_left_is_what_the_rest_takes_at_the_pace_so_far(minutes: Minutes) -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_line(console, "working") as progress:
        minutes.pass_by(2)
        progress.update(0.25, "a quarter")
    assert console.file.getvalue() == " 25%  a quarter  6 min 0 s left\n"  # type: ignore[attr-defined]


def test_what_was_done_before_says_nothing_about_the_pace(minutes: Minutes) -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_line(console, "working", done=0.5) as progress:
        minutes.pass_by(10)
        progress.update(0.5, "no further")
        minutes.pass_by(10)
        progress.update(0.6, "a tenth")  # in 20 minutes, so the other four take 80
    assert console.file.getvalue() == " 50%  no further  \n 60%  a tenth  1 h 20 min left\n"  # type: ignore[attr-defined]


def test_each_piece_of_work_has_a_pace_of_its_own(minutes: Minutes) -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_line(console, "working") as progress:
        minutes.pass_by(60)
        progress.update(1.0, "read")
        minutes.pass_by(1)
        progress.update(0.25, "prepare")
        minutes.pass_by(1)
        progress.update(0.5, "prepare")  # a quarter a minute
    last = console.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]
    assert last == " 50%  prepare  2 min 0 s left"


def test_without_a_terminal_few_lines_are_printed_and_the_last_one_always(minutes: Minutes) -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_line(console, "working") as progress:
        for step in range(1, 101):
            minutes.pass_by(1 / 60)
            progress.update(step / 100, f"step {step}")
    shown = [line.split()[2] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert shown == ["1", "12", "23", "34", "45", "56", "67", "78", "89", "100"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.0, "59 s"), (75.0, "1 min 15 s"), (3599.0, "59 min 59 s"), (5400, "1 h 30 min")],
)
def test_a_duration_is_said_as_a_person_says_it(seconds: float, text: str) -> None:
    assert readable_seconds(seconds) == text


def test_too_little_work_tells_nothing_of_the_time_left(minutes: Minutes) -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_line(console, "working", done=0.28) as progress:
        minutes.pass_by(1)
        progress.update(0.281, "the first step, which is slow")
    assert console.file.getvalue() == " 28%  the first step, which is slow  \n"  # type: ignore[attr-defined]
