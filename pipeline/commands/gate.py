"""The scan gate of a run: fitted when training ends, and saved in the model."""

import logging
import time
from collections.abc import Mapping

import torch
from numpy.typing import NDArray

from pipeline.commands.dataset import CheckedDataset
from pipeline.commands.job import Job
from pipeline.commands.preparation import PreparedDataset
from pipeline.commands.progress import progress_line, readable_seconds
from pipeline.config.load import Config
from pipeline.errors import reason_of
from pipeline.inference.backends.choice import choose_backend
from pipeline.inference.backends.conversion import ConversionRequest
from pipeline.networks.unet import UNet
from pipeline.training.gate import Windows, fit_gate

log = logging.getLogger(__name__)


def gate_of_run(
    job: Job[Config], network: UNet, *, checked: CheckedDataset, prepared: PreparedDataset
) -> Mapping[str, NDArray]:
    """What the gate was fitted to be, by name; empty where the settings ask for none, or where it cannot be fitted.

    A model without a gate is a model all the same, so that whatever keeps it from being fitted is a warning.
    """
    config, started = job.config, time.monotonic()
    if not config.gate.enabled:
        return {}
    patients = {case.name: case.patient for case in checked.dataset.cases}
    stored = [*prepared.train, *(case.stored for case in prepared.validation)]
    request = ConversionRequest(
        network=config.network,
        channels=len(prepared.fitted.channels),
        classes=1 + len(checked.dataset.labels),
        patch_size=config.training.patch_size,
        precision=job.compute.precision,
        threads=torch.get_num_threads(),
    )
    is_on_gpu = job.compute.device.type != "cpu"
    inference = config.inference.model_copy(update={"backend": "torch"}) if is_on_gpu else config.inference
    try:
        windows = Windows(
            backend=choose_backend(network, inference, compute=job.compute, request=request),
            patch_size=config.training.patch_size,
            overlap=config.inference.overlap,
            mirror_axes=prepared.fitted.prepared_axes(config.augmentation.mirror_axes),
        )
        with progress_line(job.console, "fitting the scan gate") as progress:
            gate = fit_gate(
                [(case, patients[case.name]) for case in stored],
                config.gate,
                windows=windows,
                seed=config.training.seed,
                progress=lambda share: progress.update(share, "fitting the scan gate"),
            )
    except Exception as error:
        log.warning("the model has no scan gate: %s", reason_of(error))
        return {}
    calibrated = gate.statistics.gate
    job.say(
        f"scan gate fitted in {readable_seconds(time.monotonic() - started)}; a gate_score above "
        f"{calibrated.threshold:.2f} calls a scan foreign, at {calibrated.false_alarm_rate:.1%} false alarms"
    )
    return gate.to_arrays()
