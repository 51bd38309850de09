"""``medseg refit-gate``: the threshold of a model's scan gate, from a site's own scans."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.commands.scan_rows import ScanRow, rows_of
from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError, ModelError, OutputError, ScanError
from pipeline.files import make_writable, writing_to
from pipeline.inference.batch import InputFile
from pipeline.inference.gate import FittedGate
from pipeline.inference.predictor import Predictor
from pipeline.inference.reading import ReadScan
from pipeline.model import Model, save_estimate, save_gate, save_model

SCORES = "scores"


@dataclass(frozen=True)
class Refitted:
    """What became of the scans, and of the threshold.

    Attributes:
        rows: one a file.
        before: the threshold of the model that was given.
        threshold: that of the new one.
        false_alarm_rate: what it is good for; higher than asked for where there are too few scans.
    """

    rows: list[ScanRow]
    before: float
    threshold: float
    false_alarm_rate: float


def refit_gate(
    model: Model, source: Path, output: Path, *, false_alarm_rate: float, config: InferenceConfig, console: Console
) -> Refitted:
    """Write a model whose gate calls a stated share of a site's scans foreign at most.

    Args:
        model: with a gate.
        source: scans on which the model is known to work, none of which it has learnt from; one of each patient.
        output: folder of the new model, which must not hold another one.
        false_alarm_rate: the share.
        config: of the windows, the device and the reader processes.
        console: where progress is shown.

    Raises:
        ConfigError: a device or a number format that this machine does not have.
        ModelError: the model has no gate.
        DatasetError: there are too few scans that can be read.
        OutputError: there is something at ``output``, or it cannot be written.
    """
    predictor = Predictor(model, config)
    gate = predictor.gate
    if gate is None:
        raise ModelError("a model with a scan gate", "one without", "Train it again with gate.enabled=true.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError("a new folder for the model", f"{output}, which is there", "Choose another one with -o.")

    make_writable(output.resolve().parent)

    def scores_of(_entry: InputFile, read: ReadScan) -> Mapping[str, Any]:
        if model.manifest.parts.get(read.scan.content_hash()) in ("train", "validation"):
            raise ScanError("a scan that the model has not seen in training", "one of its cases", "Leave it out.")
        return {SCORES: predictor.gate_scores(read.prepared)}

    rows = rows_of(source, model.manifest, scores_of, config=config, console=console, verb="judging")
    found = [row.found[SCORES] for row in rows if row.found is not None]
    if not found:
        raise DatasetError("scans to fit the gate to", "none that could be judged", f"The first one: {rows[0].reason}")
    fitted = gate.statistics.gate.refit(np.stack(found), false_alarm_rate)
    statistics = replace(gate.statistics, gate=fitted)
    with writing_to(output):
        arrays = FittedGate(statistics, gate.autoencoders).to_arrays()
        without = model.manifest.model_copy(update={"gate_sha256": None, "estimate_sha256": None})
        manifest = save_gate(output, save_model(output, model.network.state_dict(), without), arrays)
        if model.estimate:
            save_estimate(output, manifest, model.estimate)
    return Refitted(rows, gate.statistics.gate.threshold, fitted.threshold, fitted.false_alarm_rate)
