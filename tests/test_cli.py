"""The command line as its users and their scripts meet it: exit codes, messages, and what is printed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline import __version__, cli
from pipeline.config.inference import InferenceConfig, WatershedConfig
from pipeline.errors import UserError

WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "demo.yaml"


def medseg(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    return subprocess.run(_command(*arguments), capture_output=True, text=True, check=False, timeout=120)


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipeline", *map(str, arguments)]


def invoke(*arguments: object) -> Result:
    """The command in this process: quick, but errors come back as exceptions."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs `main` in this process and returns its exit code and what it printed on both streams."""

    def run(*arguments: object) -> tuple[int, str]:
        before = {ending: signal.getsignal(ending) for ending in cli.ENDINGS}
        monkeypatch.setattr(sys, "argv", ["medseg", *map(str, arguments)])
        try:
            with pytest.raises(SystemExit, match=r"^\d+$") as stopped:
                cli.main()
        finally:
            for ending, handler in before.items():
                signal.signal(ending, handler)
        printed = capsys.readouterr()
        return int(str(stopped.value)), printed.out + printed.err

    return run


Code = Callable[..., tuple[int, str]]


def _scan(write_volume: WriteVolume, path: Path) -> Path:
    image = np.zeros((5, 6, 7), np.int16)
    image[1:3, 2:4, 3:5] = 10
    return write_volume(path, image)


# --- Exit codes


def test_some_failed_scans_are_exit_code_3_through_the_real_command_line(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    _scan(write_volume, tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"")
    done = medseg("predict", write_model(), tmp_path / "in", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert re.search(r"failed: b: Expected .*; found ", done.stdout)
    assert f"1 done, 1 failed; {tmp_path}/out/cases.csv, {tmp_path}/out/report.html" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_scans_that_all_fail_are_exit_code_1(code: Code, write_model: WriteModel, tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"")
    number, printed = code("predict", write_model(), tmp_path / "a.nii", tmp_path / "out")
    assert (number, "0 done, 1 failed" in printed) == (1, True)


def test_scans_that_are_all_done_are_exit_code_0(
    code: Code, write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    arguments = ("predict", write_model(), _scan(write_volume, tmp_path / "a.nii"), tmp_path / "out")
    number, printed = code(*arguments)
    assert (number, "1 done, 0 failed" in printed) == (0, True)
    number, printed = code(*arguments)
    assert (number, "0 done, 1 kept, 0 failed" in printed) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "{}/none", "{}", "{}/out"], r"Expected a model folder with model.json; found none in .*/none"),
        (["predict", "{}/none.zip", "{}", "{}/out"], r"Expected a .zip of a model's folder; found .*/none.zip"),
        (["predict", "{}/model", "{}/absent", "{}/out"], r"found nothing at .*/absent. Check the path"),
        (["predict", "{}/model", "{}", "{}/out", "training.seed=1"], r"Expected changes to inference settings"),
        (["predict", "{}/model", "{}", "{}/out", "inference.ovrlap=1"], r"ovrlap: is no setting; check the spelling"),
        (["predict", "{}/model", "{}", "{}/out", "inference=5"], r"settings of inference, .* found inference=5"),
        (["predict", "{}/model", "{}", "{}/out", "overlap"], r"Expected overrides of the form KEY=VALUE"),
        (["predict", "{}/model", "{}", "{}/out", "--device", "tpu"], r"device: .*'cuda'.*, found 'tpu'"),
        (["evaluate", "{}/none", "{}", "-o", "{}/out"], r"Expected a model folder with model.json"),
        (["train", "{}/none.yaml"], r"Expected a configuration file; found .*/none.yaml: No such file"),
        (["train"], r"give either CONFIG with its overrides, or --resume RUN_DIR alone"),
        (["train", "--resume", "{}/none"], r"Expected the folder of a run, with run.json; found none in .*/none"),
        (["check", "{}/none"], r"found nothing at .*/none"),
        (["score", "{}", "{}/none", "-o", "{}/out"], r"Expected a folder of masks; found .*/none"),
        (["score", "{}", "{}", "-o", "{}/out", "--label", "organ"], r"expected NAME=VALUE .*, found 'organ'"),
        (["compare", "{}/none"], r"give two runs or more"),
        (
            ["compare", "{}/none", "{}", "-o", "{}/out"],
            r"Expected an evaluation \(metrics.json, cases.csv\); found none",
        ),
        (["frobnicate"], r"No such command 'frobnicate'"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_one_message(
    code: Code, write_model: WriteModel, tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_model()
    number, printed = code(*(argument.format(tmp_path) for argument in arguments))
    assert number == 2
    assert re.search(message, re.sub(r"[\s│]+", " ", printed)), printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_exit_code_1(
    code: Code, write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = _scan(write_volume, tmp_path / "a.nii")
    number, printed = code("predict", write_model(), path, path)
    assert (number, "Expected a folder that can be written to" in printed) == (1, True)


def test_every_wrong_key_of_a_configuration_is_in_one_message(code: Code, tmp_path: Path) -> None:
    wrong = ["training.sed=1", "network.featuers=[8]", "training.batch_size=0"]
    number, printed = code("train", CONFIG, *wrong, "-o", tmp_path / "run")
    assert number == 2
    for line in (
        "3 problems:",
        "training.sed: is no setting; check the spelling",
        "network.featuers: is no setting",
        "training.batch_size: Input should be greater than or equal to 1, found 0",
    ):
        assert line in printed
    assert not (tmp_path / "run").exists()


def test_a_fault_of_the_program_is_exit_code_1_and_names_the_way_to_its_traceback(
    code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("pipeline.commands.cache.inspect_cache", fail)
    assert code("cache") == (1, "medseg: ZeroDivisionError: division by zero (medseg --debug COMMAND shows where)\n")
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        code("--debug", "cache")


def test_the_debug_option_raises_what_a_user_caused_as_well(code: Code, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing at"):
        code("--debug", "check", tmp_path / "none")


# --- Interrupts


SLOW_MAIN = """
import sys, time
from pipeline.inference.predictor import Predictor
from pipeline.cli import main

predict = Predictor.mask

def slow(self, prepared):
    print("working", flush=True)
    time.sleep(30 if hasattr(Predictor, "once") else 0)
    Predictor.once = True
    return predict(self, prepared)

Predictor.mask = slow
if __name__ == "__main__":
    main()
"""


def test_under_nohup_the_end_of_a_session_ends_no_command(code: Code) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert code("--version") == (0, f"medseg {__version__}\n")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_command_with_its_finished_cases_kept_and_no_half_written_file(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, number: signal.Signals
) -> None:
    for name in "abc":
        _scan(write_volume, tmp_path / "in" / f"{name}.nii")
    (tmp_path / "slow.py").write_text(SLOW_MAIN)
    paths = (tmp_path / "slow.py", "predict", write_model(), tmp_path / "in", tmp_path / "out")
    command = [sys.executable, *map(str, paths)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert "working\n" in iter(process.stdout.readline, "")  # reads up to it
        process.send_signal(number)
        _, printed = process.communicate(timeout=30)
    assert (process.returncode, printed) == (130, "Interrupted; finished cases and checkpoints are kept.\n")
    left = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    of_the_case = ["a/mask.nii", "a/preview.png", "a/statistics.json", "a/viewer.html"]
    assert left == [*of_the_case, "cases.csv", "manifest.json", "medseg.log", "report.html", "status.json"]


GROUP_ENDED = """
import os, signal, time
from pipeline import cli

def fail(*_):  # as PyTorch's handler does of a worker that was killed
    raise RuntimeError("a worker was killed")

def work():
    signal.signal(signal.SIGCHLD, fail)
    worker = os.fork()
    if not worker:
        signal.pause()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGCHLD})
        time.sleep(30)
    finally:
        sum(range(100))  # what is put in order on the way out

cli.app = work
try:
    cli.main()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_to_the_whole_group_is_an_end_that_was_asked_for_though_workers_were_killed() -> None:
    line, environment = [sys.executable, "-c", GROUP_ENDED], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


# --- What is printed


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait_unless_told_otherwise(
    given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "taken back at the end")
    monkeypatch.delenv("OMP_WAIT_POLICY") if given is None else monkeypatch.setenv("OMP_WAIT_POLICY", given)
    invoke("predict", tmp_path / "none", tmp_path, tmp_path / "out")
    assert os.environ["OMP_WAIT_POLICY"] == expected


def test_torch_is_loaded_after_the_command_line_has_been_read() -> None:
    """Its threads go by what the environment says at that moment."""
    lines = "import sys, pipeline.cli; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_dry_run_lists_the_cases_and_writes_nothing(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    _scan(write_volume, tmp_path / "in" / "a.nii")
    (tmp_path / "in" / "b.dcm").write_bytes(b"")
    (tmp_path / "in" / "c.txt").write_bytes(b"")
    done = invoke("predict", write_model(), tmp_path / "in", tmp_path / "out", "--dry-run")
    assert done.exit_code == 0
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["to", "do", "a"],
        ["failed", "b", "Expected"],
        ["skipped", "c.txt", "not"],
    ]
    assert not (tmp_path / "out").exists()


def test_inference_settings_come_from_the_model_and_the_command_line_changes_them(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = _scan(write_volume, tmp_path / "a.nii")
    done = invoke("predict", write_model(), path, tmp_path / "out", "inference.overlap=0.75", "--tta")
    assert done.exit_code == 0, done.output
    settings: dict[str, Any] = json.loads((tmp_path / "out" / "manifest.json").read_text())["inference"]
    chosen = {name: settings[name] for name in ("overlap", "tta", "device", "threads", "precision")}
    assert chosen == {"overlap": 0.75, "tta": True, "device": "cpu", "threads": 1, "precision": "fp32"}


def test_a_dotted_change_leaves_the_other_settings_of_its_section_as_the_model_has_them() -> None:
    watershed = WatershedConfig(labels=("organ",), peak_distance_mm=12, peak_depth_mm=2)
    base = InferenceConfig(watershed=watershed)
    changed = cli._inference(base, ["inference.watershed.peak_depth_mm=1"], device=None, tta=None)
    assert changed.watershed == watershed.model_copy(update={"peak_depth_mm": 1.0})


def test_the_summary_counts_parameters_and_the_receptive_field() -> None:
    done = invoke(
        "summary",
        CONFIG,
        "network.features=[2,4]",
        "network.strides=null",
        "network.encoder_convolutions=[1,1]",
        "network.decoder_convolutions=[1]",
        "network.deep_supervision=0",
        "training.patch_size=[8,8,8]",
        "--classes",
        "3",
    )
    assert done.exit_code == 0, done.output
    # encoder 27*1*2 + 2*2 norm, 27*2*4 + 2*4; up 4*2*8 + 2; decoder 27*4*2 + 2*2; head 2*3 + 3
    parameters = (54 + 4) + (216 + 8) + (64 + 2) + (216 + 4) + 9
    assert re.search(rf"parameters +{parameters}\n", done.stdout), done.stdout
    for line in ("receptive field", "operations", "training memory"):
        assert line in done.stdout


def test_the_summary_takes_channels_and_classes_from_the_data_set_or_says_what_it_assumes() -> None:
    assert "for              1 channel and 3 classes\n" in invoke("summary", CONFIG).stdout
    assumed = invoke("summary", CONFIG, "data.root=nowhere").stdout
    assert re.search(r"for +1 channel and 2 classes; .*nowhere does not tell, so set others by --channels", assumed)
    settings = ["data.root=nowhere", "data.labels={a: 1, b: 2, c: 3}", "data.modalities=[CT, PET]"]
    named = invoke("summary", CONFIG, *settings)
    assert "for              2 channels and 4 classes\n" in named.stdout
    given = invoke("summary", CONFIG, "data.root=nowhere", "--channels=2", "--classes=4").stdout
    assert "for              2 channels and 4 classes\n" in given


def test_the_summary_of_an_autoencoder_names_its_code() -> None:
    config = ROOT / "configs" / "autoencoders" / "undercomplete.yaml"
    done = invoke("summary", config, "data.root=nowhere", "--channels=2")
    assert done.exit_code == 0, done.output
    assert "for              2 channels and a code of 8 x 5 x 7 x 5 numbers (1,400)\n" in done.stdout
    assert re.search(r"bottleneck\.squeeze\.0 +│ Conv3d +│ 8 x 5 x 7 x 5 +│ 1,032 ", done.stdout)  # 128 x 8 + 8
    assumed = invoke("summary", config, "data.root=nowhere").stdout
    assert re.search(r"for +1 channel and a code of .*nowhere does not tell, so set others by --channels\n", assumed)
    named = invoke("summary", config, "data.root=nowhere", "autoencoder.code_channels=4").stdout
    assert "a code of 4 x 5 x 7 x 5 numbers (700)" in named
    refused = invoke("summary", config, "data.root=nowhere", "--classes=2")
    assert isinstance(refused.exception, UserError)
    assert "Expected no --classes for an autoencoder" in str(refused.exception)


def test_the_cache_says_where_it_is_and_what_was_freed(tmp_path: Path) -> None:
    done = invoke("cache", "--folder", tmp_path / "cache")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/cache: 0 prepared cases, 0 converted networks, 0.0 MB\n")
    done = invoke("cache", "--folder", tmp_path / "cache", "--clear")
    assert done.stdout == f"{tmp_path}/cache: 0 prepared cases, 0 converted networks, 0.0 MB; 0.0 MB freed\n"


def test_the_help_names_every_command() -> None:
    shown = medseg("--help")
    for name in ("check", "train", "evaluate", "score", "compare", "predict", "summary", "cache", "demo"):
        assert re.search(rf"\b{name}\b", shown.stdout)


def test_score_prints_instances_and_centre_lines_where_they_are_asked_for(
    write_volume: WriteVolume, tmp_path: Path
) -> None:
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[1:4, 1:4, 1:5] = 1
    write_volume(tmp_path / "masks" / "a.nii.gz", mask)
    folders = (tmp_path / "masks", tmp_path / "masks", "-o", tmp_path / "out")
    plain = invoke("score", *folders).output
    assert not [title for title in ("Rand F", "Inst. F1", "clDice") if title in plain]
    done = invoke("score", *folders, "--instances", "--centreline", "--per-slice")
    assert done.exit_code == 0
    assert re.search(r"HD95 mm .* Rand F .* Inst\. F1 .* clDice .* n ", done.output)
    statistics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert statistics["per_slice"] is True
    assert statistics["labels"]["label_1"]["instances_matched"]["mean"] == 4  # a cell in each of four slices
