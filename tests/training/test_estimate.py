"""What predicted Dice is fitted to: cases as they are, and damaged."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.estimate import EstimateConfig
from pipeline.config.inference import InferenceConfig
from pipeline.damage.kinds import DAMAGES
from pipeline.inference.predictor import Predictor
from pipeline.preprocessing.labels import IGNORED
from pipeline.scan import Scan
from pipeline.training.estimate import UnseenCase, collect, examples_of, versions
from tests.conftest import WriteModel

SIDE = 20


def case(seed: int) -> tuple[Scan, NDArray[np.uint8]]:
    """An organ and a lesion that the threshold model finds, in noise that it takes for nothing."""
    rng, truth = np.random.default_rng(seed), np.zeros((SIDE,) * 3, np.uint8)
    truth[3:15, 4:12, 5:16] = 1
    truth[8:12, 6:9, 8:12] = 2
    values = np.array([0.0, 50.0, 150.0], np.float32)[truth] + rng.uniform(0, 0.3, truth.shape).astype(np.float32)
    return Scan(values[None], np.eye(4), Path("scan.nii")), truth


@pytest.fixture
def predictor(write_model: WriteModel) -> Predictor:
    return Predictor.load(write_model(), InferenceConfig(overlap=0.0, device="cpu", precision="fp32", threads=1))


def test_the_first_version_is_the_scan_and_the_others_are_of_different_kinds() -> None:
    scan, truth = case(0)
    first, *others = versions(scan, truth, len(DAMAGES), seed=3)
    assert first.scan is scan
    assert first.damage == ""
    assert sorted(version.damage for version in others) == sorted(DAMAGES)
    again = list(versions(scan, truth, len(DAMAGES), seed=3))[1:]
    assert all(np.array_equal(a.scan.array, b.scan.array) for a, b in zip(others, again, strict=True))
    assert [each.damage for each in versions(scan, truth, 4, seed=4)] != [each.damage for each in [first, *others[:4]]]


def test_the_dice_is_that_of_the_mask_where_the_truth_is_known(predictor: Predictor) -> None:
    scan, truth = case(0)
    (found,) = examples_of(next(versions(scan, truth, 0, seed=0)), predictor, None, patient="a")
    assert found.dice == pytest.approx([1, 1])
    truth[:, :, 10:] = 0
    (half,) = examples_of(next(versions(scan, truth, 0, seed=0)), predictor, None, patient="a")
    assert (half.dice < 0.8).all()
    truth[:, :, 10:] = IGNORED
    (known,) = examples_of(next(versions(scan, truth, 0, seed=0)), predictor, None, patient="a")
    assert known.dice == pytest.approx([1, 1])


def test_what_neither_the_mask_nor_the_truth_has_is_unknown(predictor: Predictor) -> None:
    scan, truth = case(0)
    scan = Scan(np.minimum(scan.array, 50), scan.affine, scan.source)
    truth[truth == 2] = 1
    (found,) = examples_of(next(versions(scan, truth, 0, seed=0)), predictor, None, patient="a")
    assert found.dice[0] == pytest.approx(1)
    assert np.isnan(found.dice[1])


def test_once_time_is_up_the_patients_that_are_needed_are_still_looked_at(predictor: Predictor) -> None:
    cases = [UnseenCase(partial(case, number), f"patient {number}") for number in range(9)]
    for minutes, count in ((10.0, 9), (1e-9, 5)):
        config, shares = EstimateConfig(damaged=2, max_minutes=minutes), list[float]()
        (found,) = collect([predictor], cases, config, shapes=None, seed=0, progress=shares.append)
        assert len(shares) == count
        assert len(found) == 3 * count
        assert len({example.patient for example in found}) == count
