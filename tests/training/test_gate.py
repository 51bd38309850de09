"""Fitting the scan gate, on scans of a bright ball that is always at about the same place."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.config.cache import CacheConfig
from pipeline.config.gate import GateConfig
from pipeline.config.network import NetworkConfig
from pipeline.errors import DatasetError
from pipeline.inference.backends.backend import TorchBackend
from pipeline.inference.gate import FittedGate, encode_all
from pipeline.inference.precision import Compute
from pipeline.networks.unet import UNet
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.prepare import prepare
from pipeline.samples.cache import CaseCache, PreparedCase, StoredCase
from pipeline.scan import Scan
from pipeline.training.gate import Windows, draw_cases, fit_gate

SIDE = 24
FITTED = FittedPreprocessing(
    spacing_mm=(1.0, 1.0, 1.0), crop="none", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
)
COMPUTE = Compute(torch.device("cpu"), "fp32")
SETTINGS = GateConfig(autoencoder_steps=40, false_alarm_rate=0.1)


def ball(seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    middle, grid = SIDE / 2 + rng.uniform(-2, 2, 3), np.indices((SIDE,) * 3)
    distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(grid, middle, strict=True)))
    return (100 * (distance < 6 + rng.uniform(-1, 1)) + rng.normal(0, 5, distance.shape)).astype(np.float32)[None]


def stripes(seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(SIDE) / rng.uniform(1, 2)) * 50
    return (wave[:, None, None] + rng.normal(0, 5, (SIDE,) * 3)).astype(np.float32)[None]


def prepared(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return prepare(Scan(array, np.eye(4), Path("scan.nii")), FITTED).image


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[StoredCase, str]]:
    cache = CaseCache(CacheConfig(folder=tmp_path_factory.mktemp("cache")))
    stored = []
    for number in range(24):
        found = prepare(Scan(ball(number), np.eye(4), Path("scan.nii")), FITTED)
        case = PreparedCase(f"case {number}", found.image, np.ones([SIDE] * 3, np.uint8), (), found.trail)
        stored.append((cache.get(str(number), partial(lambda each: each, case)), f"patient {number}"))
    return stored


@pytest.fixture(scope="module")
def windows() -> Windows:
    torch.manual_seed(0)
    network = UNet(NetworkConfig(features=(4, 8), deep_supervision=0), channels=1, classes=2).eval()
    return Windows(TorchBackend(network, COMPUTE), (16, 16, 16), 0.5, (0,))


@pytest.fixture(scope="module")
def gate(windows: Windows, cases: list[tuple[StoredCase, str]]) -> FittedGate:
    return fit_gate(cases, SETTINGS, windows=windows, seed=0, progress=lambda _: None)


def verdict(
    gate: FittedGate, windows: Windows, make: Callable[[int], NDArray[np.float32]], seed: int
) -> tuple[bool, str]:
    image = prepared(make(seed))
    encoded = encode_all(windows.backend, image, windows.patch_size, overlap=windows.overlap)
    found = gate.judge(encoded)
    return found.is_foreign, found.reason


def test_new_scans_of_the_kind_pass_and_others_do_not(gate: FittedGate, windows: Windows) -> None:
    own = [verdict(gate, windows, ball, seed) for seed in range(100, 120)]
    other = [verdict(gate, windows, stripes, seed) for seed in range(10)]
    assert sum(is_foreign for is_foreign, _ in own) <= 4
    assert all(is_foreign for is_foreign, _ in other)
    assert all(reason == "" for is_foreign, reason in own if not is_foreign)
    assert all("unlike the scans of training: gate_score" in reason for _, reason in other)


def test_the_autoencoders_show_what_is_odd_of_a_foreign_scan_alone(gate: FittedGate, windows: Windows) -> None:
    for make, is_shown in ((ball, False), (stripes, True)):
        image = prepared(make(100))
        found = gate.judge(encode_all(windows.backend, image, (16, 16, 16), overlap=0.5))
        assert (found.scan is not None) == (found.expected is not None) == is_shown == found.is_foreign


def test_the_same_seed_gives_the_same_gate_and_its_arrays_give_it_back(
    gate: FittedGate, windows: Windows, cases: list[tuple[StoredCase, str]]
) -> None:
    again, shares = (
        fit_gate(cases, SETTINGS, windows=windows, seed=0, progress=lambda _: None).to_arrays(),
        gate.to_arrays(),
    )
    assert all(np.array_equal(again[name], shares[name]) for name in shares)
    read = FittedGate.from_arrays(shares, channels=1, dimensions=3)
    assert verdict(read, windows, stripes, 0) == verdict(gate, windows, stripes, 0)


def test_it_can_do_without_autoencoders_and_with_some_of_the_cases(
    windows: Windows, cases: list[tuple[StoredCase, str]]
) -> None:
    shares = list[float]()
    few = GateConfig(autoencoder_steps=0, cases=12)
    gate = fit_gate(cases, few, windows=windows, seed=0, progress=shares.append)
    assert gate.autoencoders is None
    assert len(gate.statistics.histogram.training) == len(shares) == 12
    assert shares[-1] == 1.0
    assert FittedGate.from_arrays(gate.to_arrays(), channels=1, dimensions=3).autoencoders is None


def test_every_patient_is_drawn_before_a_second_scan_of_any() -> None:
    patients = np.repeat(np.arange(10), 5)
    for seed in range(5):
        chosen = draw_cases(patients, 12, seed=seed)
        assert len(chosen) == 12
        assert sorted(chosen) == list(chosen)
        assert set(patients[chosen]) == set(range(10))
    assert draw_cases(patients, 100, seed=0).tolist() == list(range(50))
    assert draw_cases(patients, 12, seed=0).tolist() != draw_cases(patients, 12, seed=1).tolist()


@pytest.mark.parametrize("steps", [1, 10, 19])
def test_a_schedule_has_some_steps(steps: int) -> None:
    with pytest.raises(ValueError, match="0, or 20 or more"):
        GateConfig(autoencoder_steps=steps)


def test_the_shortest_schedule_works(windows: Windows, cases: list[tuple[StoredCase, str]]) -> None:
    settings = GateConfig(autoencoder_steps=20)
    assert fit_gate(cases, settings, windows=windows, seed=0, progress=lambda _: None).autoencoders is not None


def test_too_few_patients_are_said_before_anything_is_trained(
    windows: Windows, cases: list[tuple[StoredCase, str]]
) -> None:
    twins = [(case, f"patient {number % 7}") for number, (case, _) in enumerate(cases)]
    with pytest.raises(DatasetError, match="8 patients"):
        fit_gate(twins, SETTINGS, windows=windows, seed=0, progress=lambda _: pytest.fail("it began"))
