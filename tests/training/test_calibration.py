"""Calibrating a network that is far too sure, on cases in which it is often wrong."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.cache import CacheConfig
from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError
from pipeline.inference.predictor import Predictor
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import prepare
from pipeline.quality.temperature import soften
from pipeline.samples.cache import CaseCache, PreparedCase
from pipeline.scan import Scan
from pipeline.training.calibration import calibrate
from pipeline.training.validation import ValidationCase
from tests.conftest import WriteModel

SIDE = 20


@pytest.fixture
def predictor(write_model: WriteModel) -> Predictor:
    config = InferenceConfig(overlap=0.0, device="cpu", backend="torch", threads=1, probability_maps=True)
    return Predictor.load(write_model(), config)


def validation_case(predictor: Predictor, folder: Path, number: int, truth: NDArray[np.uint8]) -> ValidationCase:
    """A scan that the model takes for organ everywhere, with certainty."""
    values = np.full(truth.shape, 8.0)
    values[0, 0, 0] = 7
    prepared = prepare(
        Scan(values[None].astype(np.float32), np.eye(4), Path("scan.nii")), predictor.manifest.preprocessing
    )
    case = PreparedCase(f"case {number}", prepared.image, truth, (), prepared.trail)
    cache = CaseCache(CacheConfig(folder=folder))
    return ValidationCase(cache.get(str(number), partial(lambda each: each, case)), truth)


def organ(seed: int) -> NDArray[np.uint8]:
    """Four of five voxels."""
    return (np.random.default_rng(seed).random((SIDE,) * 3) < 0.8).astype(np.uint8)


def test_a_network_that_is_too_sure_is_made_less_so(predictor: Predictor, tmp_path: Path) -> None:
    cases = [validation_case(predictor, tmp_path, number, organ(number)) for number in range(3)]
    patients = [(case, f"patient {number}") for number, case in enumerate(cases)]
    found = calibrate(predictor, patients, seed=0)
    assert found.temperature > 2
    assert found.before.error == pytest.approx(0.2, abs=0.03)
    assert found.after is not None
    assert found.after.error < 0.03
    assert found.is_worth_it
    again = calibrate(predictor, patients, seed=0)
    assert again.temperature == found.temperature


def test_a_temperature_that_makes_others_worse_is_not_worth_it(predictor: Predictor, tmp_path: Path) -> None:
    truths = [np.ones((SIDE,) * 3, np.uint8), organ(1)]  # of the first the network is right to be sure
    truths[0][0, 0, 0] = 0
    cases = [validation_case(predictor, tmp_path, number, truth) for number, truth in enumerate(truths)]
    found = calibrate(predictor, [(case, f"patient {number}") for number, case in enumerate(cases)], seed=0)
    assert found.after is not None
    assert found.before.error == pytest.approx(0.1, abs=0.03)
    assert found.after.error == pytest.approx(0.2, abs=0.05)  # sure of the second by the first, unsure of the first
    assert not found.is_worth_it


def test_what_is_ignored_and_cases_without_a_structure_do_not_count(predictor: Predictor, tmp_path: Path) -> None:
    half = organ(0)
    half[:, :, :10] = IGNORED
    nothing = np.full((SIDE,) * 3, IGNORED, np.uint8)
    cases = [validation_case(predictor, tmp_path, place, truth) for place, truth in enumerate((half, nothing))]
    found = calibrate(predictor, [(case, "one patient") for case in cases], seed=0)
    assert found.before.error == pytest.approx(0.2, abs=0.05)
    assert found.after is None  # nobody else's temperature can be tried on it
    with pytest.raises(DatasetError, match="validation"):
        calibrate(predictor, [(cases[1], "one patient")], seed=0)


def test_probability_maps_have_the_temperature_of_the_model(predictor: Predictor) -> None:
    values = np.random.default_rng(0).uniform(0, 2, (1, SIDE, SIDE, SIDE)).astype(np.float32)
    scan = Scan(values, np.eye(4), Path("scan.nii"))
    plain = predictor.examine(scan)
    predictor.manifest = predictor.manifest.model_copy(update={"temperature": 2.5})
    soft = predictor.examine(scan)
    assert np.array_equal(plain.mask, soft.mask)
    assert plain.probabilities is not None
    assert soft.probabilities is not None
    assert soft.probabilities.max(axis=0).mean() < plain.probabilities.max(axis=0).mean() - 0.01
    soften(plain.probabilities, 2.5)
    np.testing.assert_allclose(soft.probabilities, plain.probabilities, atol=1e-6)
