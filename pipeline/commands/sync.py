"""``medseg sync``: send MLflow what it could not be told of."""

from pathlib import Path

from pipeline.commands.run_folder import locked
from pipeline.errors import ModelError
from pipeline.tracking.identity import Place
from pipeline.tracking.run import sync as send_rest


def sync(folder: Path, wait_seconds: float) -> int:
    """Send what a folder still holds.

    Args:
        folder: of a training run, an evaluation or predictions.
        wait_seconds: how long to try, for each of its runs.

    Returns:
        How many records are left.

    Raises:
        ModelError: the folder is that of no run, another process is training it, or MLflow does not know the run.
    """
    places = Place.find_all(folder)
    if not places:
        found = f"none in {folder}"
        raise ModelError(
            "records for MLflow", found, "Give a run's folder, or one that a command named; or all is sent."
        )
    left = 0
    for place in places:
        with locked(place):
            left += send_rest(place, wait_seconds)
    return left
