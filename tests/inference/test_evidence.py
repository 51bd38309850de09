"""What is gathered of a mask while it is made, compared with the same from whole arrays."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.inference.evidence import Agreement, Observer, stray_shares
from pipeline.inference.sliding_window import Block
from pipeline.metrics.overlap import Overlap

CLASSES = 3


def probabilities(seed: int, *shape: int) -> Tensor:
    return torch.randn((CLASSES, *shape), generator=torch.Generator().manual_seed(seed)).mul(2).softmax(0)


def test_the_agreement_is_the_mean_overlap_of_all_pairs() -> None:
    agreement, windows = Agreement(CLASSES, 4), range(3)
    views = [[probabilities(10 * window + view, 5, 6, 7) for view in range(4)] for window in windows]
    for of_window in views:
        for view in of_window:
            agreement.see(view[None])
    masks = [np.stack([of_window[view].argmax(0).numpy() for of_window in views]) for view in range(4)]
    for label, found in enumerate(agreement.dice(), start=1):
        pairs = [Overlap.of(a == label, b == label) for a, b in combinations(masks, 2)]
        expected = 2 * sum(pair.common for pair in pairs) / sum(pair.predicted + pair.reference for pair in pairs)
        assert found == pytest.approx(expected)


def test_the_same_prediction_again_and_again_agrees_and_so_does_none() -> None:
    agreement, only_background = Agreement(CLASSES, 2), torch.zeros(1, CLASSES, 4, 4, 4)
    only_background[:, 0] = 1
    for _ in range(2):
        agreement.see(only_background)
    assert agreement.dice().tolist() == [1, 1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_blocks_come_to_what_the_whole_comes_to(axis: int) -> None:
    whole = probabilities(0, 9, 8, 7)
    observer, cuts = Observer((9, 8, 7)), (0, 2, 6, whole.shape[1 + axis])
    sides = [slice(first, stop) for first, stop in pairwise(cuts)]
    boxes = [tuple(side if each == axis else slice(0, n) for each, n in enumerate((9, 8, 7))) for side in sides]
    blocks = [Block(box, whole[(slice(None), *box)]) for box in boxes]
    assert list(observer.passing(blocks)) == blocks
    tally, values = observer.tally(), whole.double().numpy()
    winners = values.argmax(0)
    assert np.array_equal(tally.classes, winners)
    assert tally.agreement is None
    for label in (1, 2):
        own = values[label]
        assert tally.voxels[label - 1] == (winners == label).sum()
        assert tally.inside[label - 1] == pytest.approx(own[winners == label].sum())
        assert tally.total[label - 1] == pytest.approx(own.sum())
        assert tally.spread[label - 1] == pytest.approx((own * (1 - own)).sum(), rel=1e-5)


def test_what_is_not_connected_with_the_largest_part_is_stray() -> None:
    classes = np.zeros((10, 10, 10), np.uint8)
    classes[:4, :5, :5] = 1  # 100 voxels
    classes[6:8, 6:8, 6:8] = 1  # 8 voxels
    classes[4, 5, 5] = 1  # touches a corner of the first
    classes[9, 9, 9] = 3
    assert stray_shares(classes, 3) == pytest.approx([8 / 109, 0, 0])
