"""How sure the network of a run may be: the temperature of its probabilities, and a diagram of their reliability."""

import logging
from pathlib import Path

from pipeline.commands.job import Job
from pipeline.commands.preparation import PreparedDataset
from pipeline.commands.tracked_files import decoration
from pipeline.config.load import Config
from pipeline.errors import reason_of
from pipeline.inference.predictor import Predictor
from pipeline.model import load_model
from pipeline.report.plots import ReliabilityCurve, reliability_diagram, save_figure
from pipeline.training.calibration import Calibration, calibrate

log = logging.getLogger(__name__)


def temperature_of_run(job: Job[Config], folder: Path, *, prepared: PreparedDataset) -> float | None:
    """The temperature that the validation cases give, and None where they give none; a diagram is drawn as well.

    Args:
        job: the run.
        folder: of its model, which is used as prediction will use it.
        prepared: the cases.
    """
    if not prepared.validation:
        return None
    model = load_model(folder)
    config = model.manifest.inference.model_copy(update={"probability_maps": True})
    try:
        found = calibrate(Predictor(model, config), prepared.validation, seed=job.config.training.seed)
    except Exception as error:
        log.warning("the network's probabilities could not be calibrated: %s", reason_of(error))
        return None
    job.say(
        f"probabilities calibrated at temperature {found.temperature:.2f}; expected calibration error "
        f"{found.before.error:.3f}, and {found.after.error:.3f} with it"
    )
    _draw(job, found)
    return found.temperature


def _draw(job: Job[Config], found: Calibration) -> None:
    named = {"as it is": found.before, "at its temperature": found.after}
    curves = [
        ReliabilityCurve(name, each.edges, each.confidence, each.accuracy, each.share, each.error)
        for name, each in named.items()
    ]
    for suffix in (".png", ".svg"):
        path = job.folder.figures / f"reliability{suffix}"
        with decoration():
            save_figure(reliability_diagram(curves), path)
            job.run.log_file(path, "figures")
