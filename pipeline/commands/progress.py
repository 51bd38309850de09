"""What a command shows while it works: a bar with the time left on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PLAIN_SECONDS = 10.0
"""Without a terminal, at most one line in this time, and always the last one."""
LEAST_SHARE = 0.005
"""Of the work that has to be done before the time left can be told from it."""


class ProgressLine:
    """A line that says how far the work is.

    Attributes:
        console: where it is shown.
    """

    def __init__(self, console: Console, bar: Progress, task: TaskID, *, done: float) -> None:
        self.console = console
        self._bar = bar
        self._task = task
        self._done = self._done_before = done
        self._started = time.monotonic()
        self._shown = 0.0

    def update(self, share: float, text: str, *, important: bool = False) -> None:
        """Show that a share (0 to 1) of the work is done, with a text; important ones are shown in any case."""
        if share < self._done:  # it is other work by now, with a pace of its own
            self._done_before, self._started = share, time.monotonic()
        self._done = share
        left = self._time_left()
        self._bar.update(self._task, completed=share, description=f"{text}  {left}")
        now = time.monotonic()
        if not self.console.is_terminal and (important or share >= 1 or now - self._shown > PLAIN_SECONDS):
            self._shown = now
            self.console.print(f"{share:4.0%}  {text}  {left}", highlight=False, soft_wrap=True)

    def _time_left(self) -> str:
        if self._done - self._done_before < LEAST_SHARE or self._done >= 1.0:
            return ""
        seconds = (time.monotonic() - self._started) * (1 - self._done) / (self._done - self._done_before)
        return f"{readable_seconds(seconds)} left"


@contextmanager
def progress_line(console: Console, text: str, *, done: float = 0.0) -> Iterator[ProgressLine]:
    """Show progress until the block ends.

    Args:
        console: where.
        text: what is shown until the first update.
        done: share of the work that was done before, which says nothing about the time left.
    """
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield ProgressLine(console, bar, bar.add_task(text, total=1.0), done=done)


def readable_seconds(seconds: float) -> str:
    """A duration as a person says it.

    Example:
        >>> readable_seconds(75)
        '1 min 15 s'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
