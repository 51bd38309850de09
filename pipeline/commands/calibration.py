"""How sure the network of a run may be: the temperature of its probabilities, and a diagram of their reliability."""

import logging
from pathlib import Path

from pipeline.commands.dataset import CheckedDataset
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


def temperature_of_run(
    job: Job[Config], folder: Path, *, checked: CheckedDataset, prepared: PreparedDataset
) -> float | None:
    """The temperature that the validation cases give, None where they give none that is worth it; a diagram is drawn.

    Args:
        job: the run.
        folder: of its model, which is used as prediction will use it.
        checked: the data set.
        prepared: its cases.
    """
    if not prepared.validation:
        return None
    model = load_model(folder)
    patients = [case.patient for case in checked.cases("validation")]
    cases = list(zip(prepared.validation, patients, strict=True))
    try:
        found = calibrate(Predictor(model, model.manifest.inference), cases, seed=job.config.training.seed)
    except Exception as error:
        log.warning("the network's probabilities could not be calibrated: %s", reason_of(error))
        return None
    after = "" if found.after is None else f", and {found.after.error:.3f} with it"
    measured = f"expected calibration error {found.before.error:.3f}{after}"
    _draw(job, found)
    if not found.is_worth_it:
        job.say(f"probabilities stay as they are: temperatures that others give are worse; {measured}")
        return None
    job.say(f"probabilities calibrated at temperature {found.temperature:.2f}; {measured}")
    return found.temperature


def _draw(job: Job[Config], found: Calibration) -> None:
    named = {"as it is": found.before, "calibrated": found.after}
    curves = [
        ReliabilityCurve(name, each.edges, each.confidence, each.accuracy, each.share, each.error)
        for name, each in named.items()
        if each is not None
    ]
    for suffix in (".png", ".svg"):
        path = job.folder.figures / f"reliability{suffix}"
        with decoration():
            save_figure(reliability_diagram(curves), path)
            job.run.log_file(path, "figures")
