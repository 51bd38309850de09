"""What predicted Dice is fitted to: cases as they are, and damaged."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.cache import CacheConfig
from pipeline.config.estimate import EstimateConfig
from pipeline.config.inference import InferenceConfig
from pipeline.damage.kinds import DAMAGES
from pipeline.errors import ScanError
from pipeline.inference.predictor import Predictor
from pipeline.preprocessing.labels import IGNORED
from pipeline.preprocessing.prepare import prepare
from pipeline.samples.cache import CaseCache, PreparedCase
from pipeline.scan import Scan
from pipeline.training.estimate import Learnt, UnseenCase, Version, collect, example_of, learn, version_of
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
    return Predictor.load(
        write_model(), InferenceConfig(overlap=0.0, device="cpu", backend="torch", precision="fp32", threads=1)
    )


@pytest.fixture
def learnt(predictor: Predictor, tmp_path: Path) -> Learnt:
    """From ten cases, without their shapes."""
    cache, training = CaseCache(CacheConfig(folder=tmp_path)), []
    for number in range(10):
        scan, truth = case(100 + number)
        found = prepare(scan, predictor.manifest.preprocessing)
        stored = PreparedCase(str(number), found.image, truth, (), found.trail)
        training.append((cache.get(str(number), partial(lambda each: each, stored)), f"patient {number}"))
    return learn(training, predictor, 0, seed=0)


def test_of_the_training_masks_the_sizes_are_known(learnt: Learnt) -> None:
    assert learnt.shapes is None
    assert learnt.sizes.tolist() == [[12 * 8 * 11 - 48, 48]] * 10


def test_the_first_version_is_the_scan_and_the_others_are_of_different_kinds() -> None:
    scan, truth = case(0)
    first, *others = (version_of(scan, truth, number, seed=3) for number in range(1 + len(DAMAGES)))
    assert first.scan is scan
    assert first.damage == ""
    assert sorted(version.damage for version in others) == sorted(DAMAGES)
    again = [version_of(scan, truth, number, seed=3) for number in range(1, 1 + len(DAMAGES))]
    assert all(np.array_equal(a.scan.array, b.scan.array) for a, b in zip(others, again, strict=True))
    kinds = [version_of(scan, truth, number, seed=4).damage for number in range(1, 1 + len(DAMAGES))]
    assert kinds != [each.damage for each in others]


def test_the_dice_is_that_of_the_mask_where_the_truth_is_known(predictor: Predictor, learnt: Learnt) -> None:
    scan, truth = case(0)
    assert example_of(Version(scan, truth, ""), predictor, learnt, patient="a").dice == pytest.approx([1, 1])
    truth[:, :, 10:] = 0
    assert (example_of(Version(scan, truth, ""), predictor, learnt, patient="a").dice < 0.8).all()
    truth[:, :, 10:] = IGNORED
    assert example_of(Version(scan, truth, ""), predictor, learnt, patient="a").dice == pytest.approx([1, 1])


def test_what_neither_the_mask_nor_the_truth_has_is_unknown(predictor: Predictor, learnt: Learnt) -> None:
    scan, truth = case(0)
    scan = Scan(np.minimum(scan.array, 50), scan.affine, scan.source)
    truth[truth == 2] = 1
    found = example_of(Version(scan, truth, ""), predictor, learnt, patient="a")
    assert found.dice[0] == pytest.approx(1)
    assert np.isnan(found.dice[1])


def test_what_is_known_of_a_mask_is_of_the_parts_that_are_kept(write_model: WriteModel, learnt: Learnt) -> None:
    scan, truth = case(0)
    array = scan.array.copy()
    array[0, 17:, 17:, 17:] = 50
    apart, folder = Scan(array, scan.affine, scan.source), write_model()
    for keep, stray in (((), 27 / 1035), (("organ",), 0)):
        config = InferenceConfig(
            overlap=0.0, device="cpu", backend="torch", precision="fp32", threads=1, keep_largest=keep
        )
        found = example_of(Version(apart, truth, ""), Predictor.load(folder, config), learnt, patient="a")
        assert found.evidence.stray[0] == pytest.approx(stray)


def unseen(number: int) -> UnseenCase:
    return UnseenCase(str(number), partial(case, number), f"patient {number}")


def test_once_time_is_up_the_patients_that_are_needed_are_still_looked_at(
    predictor: Predictor, learnt: Learnt, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cases = [unseen(number) for number in range(9)]
    for minutes, masks in ((10.0, 27), (1e-9, 5)):
        config, shares = EstimateConfig(damaged=2, max_minutes=minutes), list[float]()
        (found,) = collect([predictor], cases, config, learnt=learnt, seed=0, progress=shares.append)
        assert len(found) == len(shares) == masks
        assert [example.damage for example in found[:5]] == [""] * 5
        assert len({example.patient for example in found[:5]}) == 5
    assert "5 of 27 masks" in caplog.text


def test_a_case_that_cannot_be_read_is_left_out(
    predictor: Predictor, learnt: Learnt, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def fail() -> tuple[Scan, NDArray[np.uint8]]:
        raise ScanError("a scan", "none", "Look for it.")

    cases = [UnseenCase("gone", fail, "patient 0"), *(unseen(number) for number in range(1, 7))]
    config = EstimateConfig(damaged=1)
    (found,) = collect([predictor], cases, config, learnt=learnt, seed=0, progress=lambda _: None)
    assert {example.patient for example in found} == {f"patient {number}" for number in range(1, 7)}
    assert caplog.text.count("gone is left out") == 1
