"""A picture of a data set: a thumbnail a case, for people who want to see what they have."""

from functools import partial
from pathlib import Path

from rich.console import Console

from pipeline.commands.progress import progress_line
from pipeline.commands.reading import read_all
from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError
from pipeline.figures import write_contact_sheet
from pipeline.files import writing_to
from pipeline.inference.thumbnails import read_thumbnail
from pipeline.layouts.dataset import Dataset

SHEET_CASES = 36
"""Cases on a contact sheet at most."""


def draw_contact_sheet(dataset: Dataset, target: Path, console: Console) -> int:
    """Write a picture with a thumbnail a case, of up to `SHEET_CASES` cases at even steps; returns how many it shows.

    Cases that cannot be read are left out: the findings say why.

    Raises:
        DatasetError: none can be read.
        OutputError: the picture cannot be written.
    """
    cases = (*dataset.cases, *dataset.unlabelled)
    chosen = cases[:: -(-len(cases) // SHEET_CASES) or 1]
    with progress_line(console, "drawing") as progress:
        read = partial(read_thumbnail, labels=dataset.labels)
        outcomes = read_all(read, chosen, "drawing", config=InferenceConfig(), progress=progress)
        drawn = [(outcome.item.name, outcome.value) for outcome in outcomes if outcome.value is not None]
    if not drawn:
        raise DatasetError("a case that can be read", f"none of {len(chosen)}", "Mend what the check found.")
    with writing_to(target.parent):
        write_contact_sheet(target, drawn)
    return len(drawn)
