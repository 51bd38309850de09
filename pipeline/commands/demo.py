"""``medseg demo``: the whole path on the samples, from scans and masks to masks for new scans."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline.commands.linked import evaluate_tracked, predict_tracked
from pipeline.commands.predict import Predictions
from pipeline.commands.score import Evaluation
from pipeline.commands.train import TrainedRun, train
from pipeline.config.load import Config
from pipeline.errors import ConfigError
from pipeline.model import load_model


@dataclass(frozen=True)
class Demo:
    """What the demo leaves: a run, its evaluation, and the predictions for scans without masks."""

    run: TrainedRun
    evaluation: Evaluation
    evaluation_folder: Path
    predictions: Predictions
    predictions_folder: Path


def demo(config: Config, console: Console) -> Demo:
    """Train, evaluate on the test cases, and predict the scans without masks.

    Args:
        config: configs/demo.yaml, with overrides.
        console: where progress is shown.

    Raises:
        ConfigError: the samples are not there.
    """
    new_scans = config.data.root / "imagesTs"
    if not new_scans.is_dir():
        raise ConfigError(
            "the samples with their scans to predict",
            f"no folder {new_scans}",
            "Run the demo in a checkout of the repository.",
        )
    console.rule("train")
    run = train(config, None, console)
    model = load_model(run.model)
    console.rule("evaluate on cases that training did not see")
    evaluation_folder, settings = run.folder / "evaluation", model.manifest.inference
    evaluation = evaluate_tracked(
        model, config.data.root, evaluation_folder, part="test", config=settings, console=console
    )
    console.rule("predict new scans")
    masks, again = run.folder / "predictions", load_model(run.model)
    predictions = predict_tracked(again, new_scans, masks, config=settings, console=console)
    return Demo(run, evaluation, evaluation_folder, predictions, masks)
