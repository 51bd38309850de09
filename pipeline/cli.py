"""The command line: parsing and printing only. What a command needs is imported inside it, so that help is instant."""

import io
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.errors import OutputError, UserError, reason_of
from pipeline.wording import count_of, printable

if TYPE_CHECKING:
    from pipeline.commands.compare import Compared
    from pipeline.commands.predict import Predictions
    from pipeline.commands.preflight import Preflight
    from pipeline.commands.pretrain import PretrainedRun
    from pipeline.commands.scan_rows import ScanRow
    from pipeline.commands.score import Evaluation
    from pipeline.commands.summary import DescribedNetwork
    from pipeline.commands.train import TrainedRun
    from pipeline.config.inference import InferenceConfig

app = typer.Typer(
    name="medseg",
    help="Medical image segmentation: train a U-Net on scans and masks, evaluate it, and write masks for new scans.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(soft_wrap=True, highlight=False, markup=False)  # names of files and labels are no markup
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

LEFT_OUT = {
    "train": "trained on",
    "validation": "validated on",
    "test": "kept for testing",
    "unused": "left unused",
    "unknown": "unknown to the model",
}
"""Cases that `evaluate` does not score, by their part of the model's split."""
OPTIONAL_SHOWN = {"rand_f": "Rand F", "instance_f1": "Inst. F1", "cl_dice": "clDice"}
"""What is printed of instances and centre lines, where they are scored."""
DISTANCES_SHOWN = {"hd95_mm": "HD95 mm", "hd95_px": "HD95 px"}
"""Of scans or of pictures."""
SHOWN_METRICS = {"dice": "Dice", **DISTANCES_SHOWN, "nsd": "NSD", **OPTIONAL_SHOWN}
"""What a comparison prints of each label; its files have the rest."""
DONE, FAILED, WRONG_USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command as Ctrl-C does."""

Overrides = Annotated[list[str] | None, typer.Argument(help="Changes to the settings, KEY=VALUE with dotted keys.")]
RunDir = Annotated[Path | None, typer.Option("--output", "-o", metavar="RUN_DIR", help="The run's folder.")]
Resumed = Annotated[Path | None, typer.Option(metavar="RUN_DIR", help="Go on with the run in this folder.")]
Tta = Annotated[
    bool | None, typer.Option("--tta/--no-tta", help="Average over mirrored copies; by default as the model says.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda; by default as the model says.")]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder, a .zip, runs:/ID/model or models:/NAME@ALIAS.")
]
OutOption = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for metrics.json, cases.csv, report.html and figures/.")
]


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"medseg {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback where something fails.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("pipeline").setLevel(logging.DEBUG if debug else logging.INFO)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A data set, its configuration, a scan, or a folder of scans.")],
    model: Annotated[str | None, typer.Option(help="A model that the scans should suit.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read the voxels too.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Write pictures of a data set's cases with their masks.")
    ] = None,
) -> None:
    """Say what a data set or a folder of scans holds, what is wrong with it, and what to do about it."""
    from pipeline.checks.findings import format_findings
    from pipeline.commands.check import check as run_check

    manifest = None
    if model is not None:
        from pipeline.commands.models import open_manifest

        manifest = open_manifest(model)
    findings = run_check(path, manifest, deep=deep, console=err, shown=out, sheet=sheet)
    out.print(format_findings(findings))
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(WRONG_USAGE)


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(help="A YAML file such as configs/hippocampus.yaml.")] = None,
    overrides: Overrides = None,
    output: RunDir = None,
    resume: Resumed = None,
) -> None:
    """Train a network; the last lines name the MLflow run and the model."""
    from pipeline.commands.train import read_config
    from pipeline.commands.train import resume as run_resume
    from pipeline.commands.train import train as run_train

    _check_new_or_resumed(config, overrides, output=output, resume=resume)
    if resume is not None:
        _print_run(run_resume(resume, out))
    elif config is not None:
        _print_run(run_train(read_config(config, overrides or []), output, out))


@app.command()
def pretrain(
    config: Annotated[
        Path | None, typer.Argument(help="A YAML file such as configs/autoencoders/denoising.yaml.")
    ] = None,
    overrides: Overrides = None,
    output: RunDir = None,
    resume: Resumed = None,
) -> None:
    """Train an autoencoder on scans without masks; the last lines name the MLflow run and the model."""
    from pipeline.commands.pretrain import pretrain as run_pretrain
    from pipeline.commands.pretrain import read_config
    from pipeline.commands.pretrain import resume as run_resume

    _check_new_or_resumed(config, overrides, output=output, resume=resume)
    if resume is not None:
        _print_pretrained(run_resume(resume, out))
    elif config is not None:
        _print_pretrained(run_pretrain(read_config(config, overrides or []), output, out))


@app.command()
def evaluate(
    model: ModelArgument,
    dataset: Annotated[Path, typer.Argument(help="A data set with masks, or its configuration.")],
    output: OutOption,
    split: Annotated[
        Literal["test", "val", "all"] | None, typer.Option(help="Part of the model's split; all on another data set.")
    ] = None,
    device: Device = None,
    tta: Tta = None,
    track: Annotated[bool, typer.Option("--track/--no-track", help="Record it in MLflow.")] = True,
) -> None:
    """Predict the cases of a data set and score the masks against its own."""
    from pipeline.commands.models import open_model

    loaded = open_model(model)
    settings = _inference(loaded.manifest.inference, [], device=device, tta=tta)
    if track:
        from pipeline.commands.linked import evaluate_tracked as run_evaluate  # MLflow takes seconds to import
    else:
        from pipeline.commands.evaluate import evaluate as run_evaluate
    result = run_evaluate(loaded, dataset, output, part=split, config=settings, console=out)
    _print_evaluation(result, output)
    _exit(result.summary["cases"], result.failed)


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="A folder of masks, or what predict wrote.")],
    references: Annotated[Path, typer.Argument(help="A folder of masks of the same cases.")],
    output: OutOption,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label; may be repeated.")] = None,
    tolerance_mm: Annotated[float, typer.Option(min=1e-6, help="Tolerance of the normalised surface Dice.")] = 1.0,
    instances: Annotated[bool, typer.Option("--instances", help="Score instances too: cells, nuclei.")] = False,
    centreline: Annotated[bool, typer.Option("--centreline", help="Score centre lines too: clDice.")] = False,
    per_slice: Annotated[
        bool, typer.Option("--per-slice", help="Instances and centre lines of each slice by itself.")
    ] = False,
    wall: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A label that divides instances; may be repeated.")
    ] = None,
) -> None:
    """Score a folder of masks against another, without a model."""
    from pipeline.commands.score import score as run_score
    from pipeline.config.evaluation import EvaluationConfig

    labels = dict(_label(item) for item in label) if label else None
    settings = EvaluationConfig(
        nsd_tolerance_mm=tolerance_mm,
        instances=instances or bool(wall),
        centreline=centreline,
        per_slice=per_slice,
        walls=tuple(wall or ()),
    )
    result = run_score(predictions, references, output, labels=labels, config=settings)
    _print_evaluation(result, output)
    _exit(result.summary["cases"], result.failed)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Two or more that evaluate or score wrote, or runs:/ID; the first is compared with each other.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for comparison.json, comparison.csv and report.html.")
    ] = None,
) -> None:
    """Say which of several evaluations of the same cases is better, or that it cannot be told."""
    from pipeline.commands.compare import compare as run_compare
    from pipeline.config.evaluation import EvaluationConfig

    if len(runs) < 2:
        raise typer.BadParameter("give two runs or more; the first one is compared with each other")
    _print_comparison(run_compare(runs, output, config=EvaluationConfig()), output)


@app.command()
def predict(
    model: ModelArgument,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A scan, or a folder of scans.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for the results.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="inference.KEY=VALUE")] = None,
    device: Device = None,
    tta: Tta = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do cases again that OUTPUT holds, and replace files of others.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
    identity: Annotated[
        bool,
        typer.Option(
            "--identity", help="Name the patients of DICOM series in cases.csv; otherwise mask.dcm alone does."
        ),
    ] = False,
    track: Annotated[
        bool | None,
        typer.Option("--track/--no-track", help="Record it in MLflow; by default where MLflow is in use."),
    ] = None,
) -> None:
    """Write a mask, statistics and a picture for each scan, and a table; with a denoising autoencoder, an image."""
    _sleep_between_operations()
    from pipeline.commands.models import open_any_model, open_manifest, tracks_predictions

    if dry_run:
        from pipeline.commands.preflight import preflight

        manifest = open_manifest(model)
        settings = _inference(manifest.inference, overrides or [], device=device, tta=tta)
        found = preflight(manifest, source, output, config=settings, overwrite=overwrite, console=err)
        _print_preflight(found)
        return
    from pipeline.inference.readers import start_server

    start_server()
    from pipeline.commands.predict import Options
    from pipeline.model import AutoencoderModel

    loaded, options = open_any_model(model), Options(overwrite=overwrite, identity=identity)
    settings = _inference(loaded.manifest.inference, overrides or [], device=device, tta=tta)
    if isinstance(loaded, AutoencoderModel):
        from pipeline.commands.restore import restore

        if tta is not None or identity or track is not None:
            raise typer.BadParameter("--tta, --identity and --track are for models that segment; leave them out")
        rows = restore(loaded, source, output, config=settings, console=out, overwrite=overwrite)
        _print_rows(rows, "restored", output)
        return
    if track or (track is None and tracks_predictions(model)):
        from pipeline.commands.linked import predict_tracked as run_predict  # MLflow takes seconds to import
    else:
        from pipeline.commands.predict import predict as run_predict
    result = run_predict(loaded, source, output, config=settings, console=out, options=options)
    _print_predictions(result, output)
    _exit(result.done, result.failed)


@app.command()
def embed(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An autoencoder, as `medseg pretrain` writes it.")],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A scan, or a folder of scans.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.csv", help="The table of the codes.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="inference.KEY=VALUE")] = None,
    device: Device = None,
) -> None:
    """Write each scan as the numbers of an autoencoder's code, and how well it comes back from them."""
    from pipeline.commands.embed import embed as run_embed
    from pipeline.commands.models import open_autoencoder

    loaded = open_autoencoder(model)
    settings = _inference(loaded.manifest.inference, overrides or [], device=device, tta=None)
    rows = run_embed(loaded, source, output, config=settings, console=out)
    _print_rows(rows, "embedded", output)


@app.command()
def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A variational autoencoder.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for scans and pictures.")],
    samples: Annotated[int, typer.Option(min=0, help="How many scans are drawn.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    between: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="SCAN SCAN", help="Also go from one scan to another in steps.")
    ] = None,
    device: Device = None,
) -> None:
    """Draw scans that never were from a variational autoencoder; their names say so."""
    from pipeline.commands.generate import generate as run_generate
    from pipeline.commands.models import open_autoencoder
    from pipeline.inference.generation import load_generator

    if samples == 0 and between is None:
        raise typer.BadParameter("give --samples above 0, or --between two scans")
    loaded = open_autoencoder(model)
    settings = _inference(loaded.manifest.inference, [], device=device, tta=None)
    written = run_generate(load_generator(loaded, settings), output, samples=samples, seed=seed, between=between)
    scans, pictures = count_of(len(written.scans), "scan"), count_of(len(written.pictures), "picture")
    out.print(f"{scans} and {pictures} of them: {output}")


@app.command("refit-gate")
def refit_gate(
    model: ModelArgument,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Scans of a site on which the model works.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder for the model.")],
    false_alarms: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of such scans to be stopped.")] = 0.02,
    overrides: Annotated[list[str] | None, typer.Argument(help="inference.KEY=VALUE")] = None,
    device: Device = None,
) -> None:
    """Fit the threshold of a model's scan gate to a site's own scans, and write the model anew."""
    from pipeline.commands.models import open_model
    from pipeline.commands.refit_gate import refit_gate as run_refit
    from pipeline.quality.conformal import patients_for

    loaded = open_model(model)
    settings = _inference(loaded.manifest.inference, overrides or [], device=device, tta=None)
    found = run_refit(loaded, source, output, false_alarm_rate=false_alarms, config=settings, console=out)
    out.print(
        f"threshold of gate_score: {found.threshold:.2f}, before {found.before:.2f}; good for "
        f"{found.false_alarm_rate:.1%} false alarms",
        highlight=False,
    )
    if found.false_alarm_rate > false_alarms:
        err.print(
            f"Expected {patients_for(false_alarms)} scans or more for {false_alarms:.1%} false alarms; give more.",
            style="yellow",
            highlight=False,
        )
    _print_rows(found.rows, "judged", output)


@app.command()
def summary(
    config: Annotated[Path, typer.Argument(help="A YAML file such as configs/hippocampus.yaml.")],
    overrides: Overrides = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the scans; by default the data's.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Classes with the background; by default the data's; for a U-Net only.")
    ] = None,
) -> None:
    """Print the network's layers, sizes, parameters, receptive field, memory and operations."""
    from pipeline.commands.summary import summarise
    from pipeline.config.load import load_any

    _print_summary(summarise(load_any(config, overrides or []), channels=channels, classes=classes))


@app.command()
def sync(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of runs or of their results.")],
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long to try, for each folder.")] = 60.0,
) -> None:
    """Send MLflow what it could not be told of while its server was away."""
    from pipeline.commands.sync import sync as run_sync

    left = 0
    for folder in folders:
        records = run_sync(folder, wait_seconds)
        left += records
        out.print(f"{folder}: " + (f"{count_of(records, 'record')} not sent" if records else "MLflow has everything"))
    if left:
        raise typer.Exit(FAILED)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    folder: Annotated[Path | None, typer.Option(help="The cache's folder, where it is not the default.")] = None,
) -> None:
    """Say where prepared cases and converted networks are kept and how much there is; --clear removes them."""
    from pipeline.commands.cache import inspect_cache
    from pipeline.config.cache import CacheConfig

    state = inspect_cache(CacheConfig(folder=folder), clear=clear)
    freed = f"; {state.freed_bytes / 1e6:.1f} MB freed" if clear else ""
    kept = f"{state.cases} prepared cases, {state.networks} converted networks, {state.size_bytes / 1e6:.1f} MB"
    out.print(f"{state.folder}: {kept}{freed}")


@app.command()
def demo(
    overrides: Overrides = None,
    config: Annotated[Path, typer.Option(help="The demo's settings.")] = Path("configs/demo.yaml"),
) -> None:
    """Train, evaluate and predict on data_samples/, in minutes on a CPU."""
    from pipeline.commands.demo import demo as run_demo
    from pipeline.config.load import load_config

    done = run_demo(load_config(config, overrides or []), out)
    out.rule("results")
    _print_evaluation(done.evaluation, done.evaluation_folder)
    out.print(f"masks        {done.predictions_folder} ({count_of(done.predictions.done, 'scan')})")
    out.print(f"report       {done.predictions_folder / 'report.html'}")
    _print_run(done.run)
    if not os.environ.get("MLFLOW_TRACKING_URI"):  # whoever set it knows where the runs are
        out.print(f"all runs     {_mlflow_here()} ui --backend-store-uri sqlite:///mlflow.db")
    scored, predicted = done.evaluation, done.predictions
    _exit(scored.summary["cases"] + predicted.done, scored.failed + predicted.failed)


def _sleep_between_operations() -> None:
    """Have the network's threads sleep while they wait, which leaves the processors to readers and writer.

    By default they try again and again: a folder of 42 small scans took 8.6 s on two processors that way, and takes
    7.2 s. OpenMP reads this when torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _mlflow_here() -> str:
    """MLflow's command in this environment, which need not be active."""
    beside = Path(sys.executable).with_name("mlflow")
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def main() -> None:
    """Run the command line; every error of a user's ends in one message and its exit code."""
    for ending in ENDINGS:
        if signal.getsignal(ending) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(ending, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal has no letter for
    try:
        app()
    except UserError as error:
        _fail(error, WRONG_USAGE if not isinstance(error, OutputError) else FAILED)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # what typer makes of KeyboardInterrupt
            err.print("Interrupted; finished cases and checkpoints are kept.")
        raise
    except Exception as error:
        _fail(error, FAILED)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End in order. What was sent to the whole group has ended PyTorch's workers too, which would raise an error here.

    While this is on its way, that error would take its place, and make a failure of an end that was asked for.
    """
    signal.signal(signal.SIGCHLD, lambda *_: None)
    raise KeyboardInterrupt


def _fail(error: Exception, code: int) -> NoReturn:
    if "--debug" in sys.argv:
        raise error
    hint = "" if isinstance(error, UserError) else " (medseg --debug COMMAND shows where)"
    err.print(f"medseg: {reason_of(error)}{hint}")
    sys.exit(code)


def _exit(done: int, failed: int) -> None:
    """End with the exit code that says whether all, some or none of the cases could be done."""
    if failed:
        raise typer.Exit(SOME_FAILED if done else FAILED)


def _inference(
    base: "InferenceConfig", overrides: list[str], *, device: str | None, tta: bool | None
) -> "InferenceConfig":
    """The model's own inference settings with the command line's changes."""
    from pipeline.config.inference import InferenceConfig
    from pipeline.config.load import Config, parse_overrides, validate
    from pipeline.config.overrides import apply_override
    from pipeline.errors import ConfigError

    changes = parse_overrides(overrides)
    foreign = [key for key in changes if key != "inference"]
    if foreign:
        raise ConfigError(
            "changes to inference settings, inference.KEY=VALUE",
            ", ".join(overrides),
            "Other settings belong to training.",
        )
    given = changes.get("inference", {})
    if not isinstance(given, dict):
        raise ConfigError("settings of inference, inference.KEY=VALUE", f"inference={given}", "Name the setting.")
    settings: dict[str, Any] = {"inference": base.model_dump()}
    for override in overrides:
        apply_override(override, settings, Config)
    options = ({"tta": tta} if tta is not None else {}) | ({"device": device} if device is not None else {})
    return validate(InferenceConfig, settings["inference"] | options, "the inference settings")


def _check_new_or_resumed(
    config: Path | None, overrides: list[str] | None, *, output: Path | None, resume: Path | None
) -> None:
    if (config is None) == (resume is None) or (resume is not None and (overrides or output)):
        raise typer.BadParameter("give either CONFIG with its overrides, or --resume RUN_DIR alone")


def _label(item: str) -> tuple[str, int]:
    name, equals, value = item.partition("=")
    if not name or not equals or not value.isdecimal() or int(value) < 1:
        raise typer.BadParameter(f"expected NAME=VALUE with a whole value above 0, found {item!r}; write e.g. liver=1")
    return name, int(value)


def _print_run(run: "TrainedRun") -> None:
    if run.validation_dice is not None:
        out.print(f"validation   mean Dice {run.validation_dice:.4f}")
    _print_model(run)


def _print_pretrained(run: "PretrainedRun") -> None:
    if run.validation:
        shown = f"mean squared error {run.validation['mse']:.4f}, PSNR {run.validation['psnr']:.2f} dB"
        similarity = f", SSIM {run.validation['ssim']:.4f}" if "ssim" in run.validation else ""
        out.print(f"validation   {shown}{similarity}")
    _print_model(run)


def _print_rows(rows: "Sequence[ScanRow]", done: str, target: Path) -> None:
    """How many scans are done, and the exit code that says so."""
    counts = Counter(row.status for row in rows)
    scans, files = count_of(counts["ok"], "scan"), count_of(counts["skipped"], "file")
    out.print(f"{scans} {done}, {counts['failed']} failed, {files} skipped: {target}")
    for row in rows:
        if row.status == "failed":
            out.print(f"failed  {printable(row.entry.case)}: {row.reason}")
    _exit(counts["ok"], counts["failed"])


def _print_model(run: "TrainedRun | PretrainedRun") -> None:
    out.print(f"MLflow run   {run.run_id}{'' if run.is_recorded else ' (MLflow does not know it yet)'}")
    out.print(f"model        {run.model}")


def _print_evaluation(result: "Evaluation", folder: Path) -> None:
    summary: dict[str, Any] = result.summary
    known = {metric for metrics in summary["labels"].values() for metric in metrics}
    further = {metric: title for metric, title in (DISTANCES_SHOWN | OPTIONAL_SHOWN).items() if metric in known}
    table = Table("label", "Dice", "95 % interval", *further.values(), "n")
    for name, metrics in summary["labels"].items():
        dice, interval = metrics["dice"], metrics["dice"]["ci95"]
        shown = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        others = (_number(metrics[metric]["mean"]) for metric in further)
        table.add_row(name, _number(dice["mean"]), shown, *others, str(dice["n"]))
    out.print(table)
    out.print(f"mean Dice    {_number(summary['mean_dice'])} over {count_of(summary['cases'], 'case')}")
    left_out = {part: count for part, count in summary.get("left_out", {}).items() if count}
    if left_out:
        counts = ", ".join(f"{count} {LEFT_OUT[part]}" for part, count in left_out.items())
        out.print(f"left out     {count_of(sum(left_out.values()), 'case')}: {counts}")
    out.print(f"evaluation   {folder / 'report.html'}")
    if result.run_id is not None:
        out.print(f"MLflow run   {result.run_id}")
    if result.failed:
        out.print(f"failed       {count_of(result.failed, 'case')}, named in the report")


def _print_comparison(result: "Compared", folder: Path | None) -> None:
    content = result.content
    for pair in content["comparisons"]:
        out.print(f"baseline     {content['baseline']['name']}")
        out.print(f"other        {pair['other']['name']}")
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("label", overflow="fold", min_width=9)
        for heading in ("metric", "baseline", "other", "differs\nby", "95 % interval", "p", "wins/\nties/\nlosses"):
            table.add_column(heading, no_wrap=True)
        table.add_row("mean", "Dice", *_difference(pair["mean_dice"], "p_holm"))
        for label, metrics in pair["labels"].items():
            for metric, title in SHOWN_METRICS.items():
                if metric in metrics:
                    table.add_row(label, title, *_difference(metrics[metric], "p_holm" if metric == "dice" else "p"))
        out.print(table)
    if folder is not None:
        out.print(f"comparison   {folder / 'report.html'}")
    for pair in content["comparisons"]:
        for sentence in pair["sentences"]:
            out.print(sentence)


def _difference(tested: dict[str, Any], p_key: str) -> list[str]:
    """The cells of a paired difference; p is corrected for the number of tests where it is that of Dice."""
    interval, p = tested["ci95"], tested[p_key]
    shown = "-" if tested["mean_difference"] is None else f"{tested['mean_difference']:+.3f}"
    return [
        *(_short(tested[name]) for name in ("baseline_mean", "other_mean")),
        shown,
        f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else "",
        "-" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001",
        f"{tested['wins']}/{tested['ties']}/{tested['losses']}",
    ]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _print_summary(described: "DescribedNetwork") -> None:
    summary = described.summary
    table = Table("layer", "type", "output", "parameters")
    for row in summary.layers:
        table.add_row(row.name, row.kind, " x ".join(map(str, row.shape)), f"{row.parameters:,}")
    out.print(table)
    out.print(f"for              {described.assumptions}")
    out.print(f"parameters       {summary.parameters:,}")
    out.print(f"receptive field  {' x '.join(map(str, summary.receptive_field_voxels))} voxels")
    out.print(f"operations       {summary.gflop:.2f} GFLOP a patch, forward")
    out.print(f"training memory  {summary.training_gb:.2f} GB a batch, roughly")


def _print_predictions(result: "Predictions", output: Path) -> None:
    kept, review = (
        sum(row[column] == value for row in result.rows) for column, value in (("action", "kept"), ("status", "review"))
    )
    counts = [f"{result.done - kept} done", *([f"{kept} kept"] if kept else []), f"{result.failed} failed"]
    to_review = f", {review} to look at" if review else ""
    if kept and kept == result.done and not result.failed:
        out.print("Nothing to do: the masks are there, and nothing that they depend on has changed.")
    out.print(f"{', '.join(counts)}{to_review}; {output / 'cases.csv'}, {output / 'report.html'}")


def _print_preflight(found: "Preflight") -> None:
    from pipeline.checks.findings import format_findings

    counts = Counter[str]()
    for each in found.inputs:
        item = each.item
        action = {"done": "to do", "kept": "kept"}.get(item.action, item.status)
        counts[action] += 1
        size = "" if each.shape is None else f"{' x '.join(map(str, each.shape))} voxels, {each.memory_gb:.1f} GB"
        text = "  ".join(part for part in (size, printable(item.reason)) if part)
        out.print(f"{action:8} {item.entry.case}  {text}", markup=False, highlight=False, soft_wrap=True)
    if found.findings:
        out.print(f"\n{format_findings(found.findings)}", markup=False, highlight=False, soft_wrap=True)
    err.print(
        f"{', '.join(f'{count} {action}' for action, count in counts.items())}; of scans, headers alone were read"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
