"""Predicted Dice of a run: fitted when training ends, after the scan gate, and saved in the model."""

import logging
import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.commands.dataset import CheckedDataset
from pipeline.commands.job import Job
from pipeline.commands.preparation import PreparedDataset
from pipeline.commands.progress import progress_line, readable_seconds
from pipeline.config.inference import InferenceConfig
from pipeline.config.load import Config
from pipeline.errors import DatasetError, reason_of
from pipeline.inference.predictor import Predictor
from pipeline.inference.readers import run_isolated
from pipeline.layouts.case_files import read_image
from pipeline.layouts.dataset import Case
from pipeline.model import load_model
from pipeline.quality.conformal import patients_for
from pipeline.scan import Scan
from pipeline.training.estimate import UnseenCase, fit_estimates
from pipeline.training.validation import ValidationCase

log = logging.getLogger(__name__)
WORK = "fitting predicted Dice"


def estimate_of_run(
    job: Job[Config], folder: Path, *, checked: CheckedDataset, prepared: PreparedDataset
) -> dict[str, NDArray]:
    """What was fitted, by name; empty where the settings ask for none, or where it cannot be fitted.

    A model that does not predict its Dice is a model all the same, so that whatever keeps it from that is a warning.

    Args:
        job: the run.
        folder: of its model, which is used as prediction will use it.
        checked: the data set.
        prepared: its cases.
    """
    config, started = job.config, time.monotonic()
    if not config.estimate.enabled:
        return {}
    cases = [
        UnseenCase(case.name, partial(_read, case, validated, config.inference), case.patient)
        for case, validated in zip(checked.cases("validation"), prepared.validation, strict=True)
    ]
    patients = [case.patient for case in checked.cases("train")]
    try:
        with progress_line(job.console, WORK) as progress:
            fitted = fit_estimates(
                _predictors(folder),
                cases,
                config.estimate,
                training=list(zip(prepared.train, patients, strict=True)),
                seed=config.training.seed,
                progress=lambda share: progress.update(share, WORK),
            )
    except DatasetError as error:
        log.info("the model does not predict its Dice: %s", reason_of(error))
        return {}
    except Exception as error:
        log.warning("the model does not predict its Dice: %s", reason_of(error))
        return {}
    labels = list(checked.dataset.labels)
    rates = [each.alarm_rate for each in fitted.single.labels.values()]
    missing = [name for place, name in enumerate(labels) if place not in fitted.single.labels]
    job.say(
        f"predicted Dice fitted in {readable_seconds(time.monotonic() - started)}; "
        f"{sum(rates):.1%} of masks of undamaged scans at most are below what is expected"
        + (f"; none for {', '.join(missing)}, which too few validation cases have" if missing else "")
    )
    found, wanted = len({case.patient for case in cases}), patients_for(1 - config.estimate.coverage)
    if found < wanted:
        log.warning(
            "the interval of each predicted Dice is 0 to 1, which says nothing: "
            "expected validation cases of at least %d patients, found %d; set data.split.validation higher",
            wanted,
            found,
        )
    return fitted.to_arrays()


def _predictors(folder: Path) -> list[Predictor]:
    """Without mirroring, and with it where prediction uses it."""
    model = load_model(folder)
    config = model.manifest.inference.model_copy(update={"probability_maps": False})
    mirrored = [True] if config.tta and model.manifest.mirror_axes else []
    return [Predictor(model, config.model_copy(update={"tta": tta})) for tta in (False, *mirrored)]


def _read(case: Case, validated: ValidationCase, config: InferenceConfig) -> tuple[Scan, NDArray[np.uint8]]:
    """Read a scan again, in a process of its own: it may have changed since it was checked."""
    for outcome in run_isolated(read_image, [case.images], config):
        if outcome.error is not None:
            raise outcome.error
        assert outcome.value is not None
        return outcome.value, validated.truth
    raise AssertionError("no outcome")
