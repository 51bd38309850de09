"""The trained model behind ``mlflow.pyfunc.load_model``; MLflow finds it by the name of this module.

Scans are read in this process: MLflow's servers and a user's script may not be able to start others. A file that makes
its decoder crash ends the process here, unlike in ``medseg predict``, which reads in processes of their own.
"""

from pathlib import Path
from typing import Any

from pandas import DataFrame

from pipeline.errors import reason_of
from pipeline.inference.predictor import Predictor
from pipeline.model import load_model

PATH = "path"
OUTPUTS = ("mask", "reason", "review")


class PyfuncModel:
    """Masks for scans, by their paths.

    Args:
        predictor: the model, run with its own inference settings.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: DataFrame, params: dict[str, Any] | None = None) -> DataFrame:  # noqa: ARG002
        """Predict scans.

        Args:
            model_input: a column ``path`` of files; where each channel has a file of its own, of the folders of cases
                or of any of their files.
            params: none is known; MLflow hands it over.

        Returns:
            A row a scan with its ``path``; ``mask``, label values (I, J, K) on the scan's own grid, as `medseg predict`
            writes them, or None where there is none; ``reason``, why there is none, or ""; and ``review``, why the scan
            gate or predicted Dice would have the mask looked at, or "".
        """
        return DataFrame([self._predict(str(path)) for path in model_input[PATH]], columns=[PATH, *OUTPUTS])

    def _predict(self, path: str) -> dict[str, Any]:
        try:
            found = self._predictor.examine(Path(path))
            return {PATH: path, "mask": found.mask, "reason": "", "review": "; ".join(found.reasons)}
        except Exception as error:  # whatever it is, the other scans get their masks
            return {PATH: path, "mask": None, "reason": reason_of(error), "review": ""}


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load the model of a folder; MLflow's entry point.

    Raises:
        ModelError: it is no model, or a damaged one.
        ConfigError: its device, backend or number format is not there.
    """
    model = load_model(Path(path))
    settings = model.manifest.inference.model_copy(update={"probability_maps": False})  # nobody is given them here
    return PyfuncModel(Predictor(model, settings))
