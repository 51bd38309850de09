"""Calling a function for many cases in reader processes, with progress."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pipeline.commands.progress import ProgressLine
from pipeline.config.inference import InferenceConfig
from pipeline.inference.readers import Outcome, run_isolated

Item = TypeVar("Item")
Value = TypeVar("Value")


def read_all(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    verb: str,
    *,
    config: InferenceConfig,
    progress: ProgressLine,
) -> Iterator[Outcome[Item, Value]]:
    """As `run_isolated`; each outcome moves the progress on, under a text such as "reading case 1 of 9"."""
    for index, outcome in enumerate(run_isolated(function, items, config), start=1):
        yield outcome
        progress.update(index / len(items), f"{verb} case {index} of {len(items)}")
