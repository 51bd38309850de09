"""How the number format of the convolutions is chosen; the clock stands still but for what a test adds to it."""

from collections.abc import Callable, Iterator

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.inference import precision
from pipeline.inference.precision import Compute, choose_precision, choose_training_precision, faster_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")
Step = Callable[[Compute], None]


def has(monkeypatch: pytest.MonkeyPatch, *formats: str) -> None:
    """Let the device have these formats."""
    monkeypatch.setattr(precision, "native_precisions", lambda _device: frozenset(formats))


def not_called() -> Step:
    raise AssertionError("nothing is to be timed")


# --- Inference


@pytest.mark.parametrize(
    ("device", "formats", "trained", "chosen"),
    [
        (CPU, ("fp32", "bf16"), "bf16", "bf16"),
        (CPU, ("fp32", "bf16"), "fp32", "fp32"),
        (CPU, ("fp32",), "bf16", "fp32"),
        (CPU, ("fp32", "bf16"), "fp16", "fp32"),
        (GPU, ("fp32", "fp16", "bf16"), "fp32", "fp32"),
        (GPU, ("fp32", "fp16", "bf16"), "fp16", "fp16"),
        (GPU, ("fp32", "fp16"), "bf16", "fp16"),
        (GPU, ("fp32", "fp16", "bf16"), "unheard of", "bf16"),
    ],
)
def test_inference_takes_the_format_of_the_training_where_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, formats: tuple[str, ...], trained: str, chosen: str
) -> None:
    has(monkeypatch, *formats)
    assert choose_precision("auto", device, trained) == chosen


def test_a_format_that_is_asked_for_is_taken_whatever_the_training_had(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, "fp32", "bf16")
    assert choose_precision("fp32", CPU, "bf16") == "fp32"
    assert choose_training_precision("bf16", CPU, not_called) == "bf16"


def test_half_precision_on_a_cpu_is_refused() -> None:
    refused = r"fp32 or bf16 on a CPU; found fp16\. Choose bf16, fp32 or auto"
    with pytest.raises(ConfigError, match=refused):
        choose_precision("fp16", CPU, "fp16")
    with pytest.raises(ConfigError, match=refused):
        choose_training_precision("fp16", CPU, not_called)


# --- Training


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float], list[float]], Step]:
    """Makes a step that takes the given seconds in fp32 and in bf16, call by call."""
    now = [0.0]
    monkeypatch.setattr("pipeline.inference.precision.time.perf_counter", lambda: now[0])

    def make(fp32: list[float], bf16: list[float]) -> Step:
        seconds: dict[str, Iterator[float]] = {"fp32": iter(fp32), "bf16": iter(bf16)}

        def step(compute: Compute) -> None:
            now[0] += next(seconds[compute.precision])

        return step

    return make


@pytest.mark.parametrize(
    ("fp32", "bf16", "faster"),
    [
        ([9.0, *[1.0] * 5], [9.0, *[0.8] * 5], "bf16"),
        ([9.0, *[1.0] * 5], [9.0, *[0.95] * 5], "fp32"),  # less than a tenth
        ([9.0, *[1.0] * 5], [0.1, *[1.2] * 5], "fp32"),  # the first run does not count
        ([9.0, *[5.0] * 4, 1.0], [9.0, *[0.95] * 5], "fp32"),  # nor do those that were disturbed
        ([9.0, *[1.0] * 5], [9.0, *[3.0] * 4, 0.8], "bf16"),
    ],
)
def test_bf16_has_to_win_by_a_tenth_in_the_shortest_of_five_runs(
    steps: Callable[[list[float], list[float]], Step], fp32: list[float], bf16: list[float], faster: str
) -> None:
    assert faster_precision(steps(fp32, bf16), CPU) == faster


def test_training_times_a_step_where_a_cpu_has_bf16_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, steps: Callable[[list[float], list[float]], Step]
) -> None:
    has(monkeypatch, "fp32", "bf16")
    assert choose_training_precision("auto", CPU, lambda: steps([1.0] * 6, [0.5] * 6)) == "bf16"
    assert choose_training_precision("auto", GPU, not_called) == "bf16"
    has(monkeypatch, "fp32", "fp16")
    assert choose_training_precision("auto", GPU, not_called) == "fp16"
    has(monkeypatch, "fp32")
    assert choose_training_precision("auto", CPU, not_called) == "fp32"
