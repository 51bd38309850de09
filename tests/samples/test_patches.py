from collections import Counter
from copy import copy
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.augmentation import AugmentationConfig
from pipeline.config.cache import CacheConfig
from pipeline.config.training import TrainingConfig
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.prepare import plan_trail
from pipeline.samples.cache import CaseCache, PreparedCase, StoredCase
from pipeline.samples.patches import (
    BatchPlan,
    PatchDataset,
    SampleKey,
    batches_per_epoch,
    cut,
    draw_centre,
    make_loader,
)
from pipeline.samples.prepare import foreground
from pipeline.scan import Scan

FITTED = FittedPreprocessing(
    spacing_mm=None, crop="none", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
)
SHAPE = (6, 10, 4)
STRUCTURES = {1: (0, 0, 0), 2: (3, 5, 1)}
"""The one voxel of each structure of the case below."""


def training(**settings: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"patch_size": (8, 8, 8), "max_epochs": 2} | settings)


@pytest.fixture
def case(tmp_path: Path) -> StoredCase:
    """A case whose voxels are numbered from 1."""
    image = np.arange(1, 241, dtype=np.float32).reshape(1, *SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    for value, voxel in STRUCTURES.items():
        labels[voxel] = value
    trail = plan_trail(Scan(image.copy(), np.eye(4), Path("scan.nii")), FITTED)
    prepared = PreparedCase("numbered", image, labels, foreground(labels, 3), trail)
    return CaseCache(CacheConfig(folder=tmp_path)).get("numbered", partial(copy, prepared))


@pytest.mark.parametrize(("cases", "batch_size", "expected"), [(10, 2, 5), (7, 2, 4), (1, 8, 1), (9, 4, 2)])
def test_an_epoch_draws_each_case_about_once(cases: int, batch_size: int, expected: int) -> None:
    assert batches_per_epoch(cases, training(batch_size=batch_size)) == expected


def test_an_epoch_has_as_many_batches_as_configured() -> None:
    assert batches_per_epoch(10, training(iterations_per_epoch=3)) == 3


@pytest.mark.parametrize(("cases", "batch_size", "iterations"), [(5, 2, 5), (4, 3, 8), (7, 1, 21), (2, 5, 2)])
def test_each_case_comes_once_before_any_comes_again(cases: int, batch_size: int, iterations: int) -> None:
    plan = BatchPlan(cases, training(batch_size=batch_size, iterations_per_epoch=iterations), 0)
    drawn = [key.case for batch in plan for key in batch]
    assert len(drawn) == 2 * iterations * batch_size
    turns = [drawn[start : start + cases] for start in range(0, len(drawn), cases)]
    assert all(sorted(turn) == list(range(cases)) for turn in turns)


def test_each_turn_has_an_order_of_its_own() -> None:
    drawn = [key.case for batch in BatchPlan(30, training(batch_size=1, iterations_per_epoch=30), 0) for key in batch]
    assert drawn[:30] != drawn[30:]
    other = BatchPlan(30, training(batch_size=1, iterations_per_epoch=30, seed=1), 0)
    assert drawn != [key.case for batch in other for key in batch]


def test_a_plan_that_starts_in_the_middle_goes_on_as_it_would_have() -> None:
    config = training(batch_size=3, iterations_per_epoch=4, max_epochs=5)
    whole, resumed = list(BatchPlan(7, config, 0)), list(BatchPlan(7, config, 3))
    assert resumed == whole[12:]
    assert [len(BatchPlan(7, config, epoch)) for epoch in (0, 3, 5)] == [20, 8, 0]


def test_no_two_samples_of_a_run_share_their_random_numbers() -> None:
    keys = [(key.epoch, key.sample) for batch in BatchPlan(3, training(iterations_per_epoch=6), 0) for key in batch]
    assert len(set(keys)) == len(keys) == 24
    assert all(a < b for a, b in pairwise(keys))


def test_a_patch_is_cut_about_its_centre(case: StoredCase) -> None:
    # even sizes reach n/2 below the centre and n/2 - 1 above
    image, labels, _ = cut(case, (3, 5, 2), (4, 3, 2))
    np.testing.assert_array_equal(image, case.image()[:, 1:5, 4:7, 1:3])
    np.testing.assert_array_equal(labels, case.labels()[1:5, 4:7, 1:3])
    assert labels[2, 1, 0] == 2


def test_a_patch_that_leaves_the_case_is_filled_up_with_zeros(case: StoredCase) -> None:
    image, labels, _ = cut(case, (0, 9, 2), (4, 4, 8))
    assert image.shape == (1, 4, 4, 8)
    assert labels.shape == (4, 4, 8)
    # rows -2..1, 7..10 and -2..5: the case fills 0..1, 7..9 and 0..3
    np.testing.assert_array_equal(image[:, 2:, :3, 2:6], case.image()[:, 0:2, 7:10, 0:4])
    assert np.count_nonzero(image) == 2 * 3 * 4


def test_patches_with_a_structure_are_centred_on_each_structure_as_often(case: StoredCase) -> None:
    rng = np.random.default_rng(0)
    centres = Counter(draw_centre(case, (1, 1, 1), foreground=1.0, rng=rng) for _ in range(200))
    assert set(centres) == set(STRUCTURES.values())
    assert 70 < centres[STRUCTURES[1]] < 130


def test_a_centre_near_the_border_moves_inwards_so_that_the_patch_stays_inside(case: StoredCase) -> None:
    rng = np.random.default_rng(0)
    # patch (4, 3, 8): centres 2..4 and 1..8; the third axis is shorter than the patch, so its middle 4 // 2
    assert {draw_centre(case, (4, 3, 8), foreground=1.0, rng=rng) for _ in range(50)} == {(2, 1, 2), (3, 5, 2)}


@pytest.mark.parametrize("patch", [(4, 3, 2), (6, 9, 4), (5, 10, 1), (16, 16, 16)])
def test_random_patches_lie_inside_and_reach_every_place(case: StoredCase, patch: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    centres = np.array([draw_centre(case, patch, foreground=0.0, rng=rng) for _ in range(300)])
    for axis, (size, width) in enumerate(zip(SHAPE, patch, strict=True)):
        starts = {int(centre) - width // 2 for centre in centres[:, axis]}
        expected = set(range(size - width + 1)) if width <= size else {size // 2 - width // 2}
        assert starts == expected


def test_the_share_of_patches_with_a_structure_is_the_configured_one(case: StoredCase) -> None:
    rng = np.random.default_rng(0)
    hits = sum(draw_centre(case, (1, 1, 1), foreground=0.3, rng=rng) in STRUCTURES.values() for _ in range(1000))
    assert 0.25 < hits / 1000 < 0.36


def test_a_case_without_structures_is_drawn_from_anywhere(tmp_path: Path, case: StoredCase) -> None:
    empty = PreparedCase("empty", case.image(), np.zeros(SHAPE, np.uint8), (np.zeros((0, 3), np.int32),), case.trail)
    stored = CaseCache(CacheConfig(folder=tmp_path)).get("empty", lambda: empty)
    rng = np.random.default_rng(0)
    assert len({draw_centre(stored, (2, 2, 2), foreground=1.0, rng=rng) for _ in range(20)}) > 10


def test_weights_of_voxels_are_cut_with_them_and_are_1_outside(case: StoredCase, tmp_path: Path) -> None:
    assert cut(case, (3, 5, 2), (4, 3, 2))[2] is None
    weights = np.full(SHAPE, 2.0, np.float32)
    weights[0, 9, 2] = 5.0
    prepared = PreparedCase("weighted", case.image(), case.labels(), case.foreground, case.trail, weights)
    stored = CaseCache(CacheConfig(folder=tmp_path)).get("weighted", partial(copy, prepared))
    found = cut(stored, (0, 9, 2), (3, 3, 1))[2]
    assert found is not None
    assert found[..., 0].tolist() == [[1, 1, 1], [2, 5, 1], [2, 2, 1]]
    sample = PatchDataset([stored], training(patch_size=(4, 4, 4)), AugmentationConfig(), foreground=0.33)[
        SampleKey(0, 0, 0)
    ]
    assert sample["weights"].shape == (1, 4, 4, 4)


def test_without_augmentation_a_sample_is_what_is_cut(case: StoredCase) -> None:
    off = dict.fromkeys(("rotation", "scaling", "noise", "blur", "brightness", "contrast", "low_resolution"), 0)
    augmentation = AugmentationConfig.model_validate(off | {"gamma": 0, "gamma_inverted": 0, "mirror_axes": ()})
    dataset = PatchDataset([case], training(patch_size=(4, 4, 4)), augmentation, foreground=1.0)
    sample = dataset[SampleKey(epoch=0, sample=0, case=0)]
    found = [cut(case, centre, (4, 4, 4))[0] for centre in ((2, 2, 2), (3, 5, 2))]
    assert any(np.array_equal(sample["image"], image) for image in found)


def test_batches_do_not_depend_on_the_number_of_workers(case: StoredCase) -> None:
    config = training(max_epochs=1, iterations_per_epoch=3)
    dataset = PatchDataset([case, case], config, AugmentationConfig(rotation=1, scaling=1), foreground=0.33)
    here, elsewhere = (
        list(make_loader(dataset, BatchPlan(2, config, 0), workers, pin_memory=False)) for workers in (0, 2)
    )
    assert len(here) == len(elsewhere) == 3
    for one, other in zip(here, elsewhere, strict=True):
        assert one["image"].shape == (2, 1, 8, 8, 8)
        assert one["labels"].shape == (2, 1, 8, 8, 8)
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["labels"], other["labels"])


def test_making_batches_draws_no_random_number_that_training_could_draw(case: StoredCase) -> None:
    config, before = training(max_epochs=1, iterations_per_epoch=1), torch.get_rng_state()
    list(
        make_loader(
            PatchDataset([case], config, AugmentationConfig(), foreground=0.33),
            BatchPlan(1, config, 0),
            0,
            pin_memory=False,
        )
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_making_a_sample_leaves_the_number_of_threads_as_it_was(case: StoredCase) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        PatchDataset([case], training(), AugmentationConfig(), foreground=0.33)[SampleKey(0, 0, 0)]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
