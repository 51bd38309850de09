import pytest
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss, FocalLoss
from torch import Tensor

from pipeline.config.training import LossConfig
from pipeline.errors import ConfigError
from pipeline.losses.segmentation import LOSSES, SegmentationLoss, Target
from pipeline.preprocessing.labels import IGNORED

SMOOTH = 1e-5


def example(classes: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, 4, 6, 4, generator=random)
    return logits, torch.randint(0, classes, (2, 1, 4, 6, 4), generator=random)


def dice_loss(logits: Tensor, labels: Tensor, *, batch: bool) -> Tensor:
    """1 - (2 sum p t + s) / (sum p + sum t + s), a structure at a time, then the mean."""
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    losses = []
    images = [slice(0, 2)] if batch else [slice(0, 1), slice(1, 2)]
    for image in images:
        for value in range(1, logits.shape[1]):
            p, t = probabilities[image, value], (labels[image, 0] == value).float()
            losses.append(1 - (2 * (p * t).sum() + SMOOTH) / (p.sum() + t.sum() + SMOOTH))
    return torch.stack(losses).mean()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p of the right class."""
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    return -log_p.gather(1, labels).mean()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("batch_dice", [False, True])
def test_the_loss_is_dice_and_cross_entropy(batch_dice: bool, classes: int) -> None:
    logits, labels = example(classes)
    config = LossConfig(dice=0.7, cross_entropy=1.5, batch_dice=batch_dice)
    expected = 0.7 * dice_loss(logits, labels, batch=batch_dice) + 1.5 * cross_entropy(logits, labels)
    torch.testing.assert_close(SegmentationLoss(config)([logits], labels), expected)


def test_either_part_can_be_left_out() -> None:
    logits, labels = example()
    only_dice, only_entropy = LossConfig(cross_entropy=0), LossConfig(dice=0)
    torch.testing.assert_close(SegmentationLoss(only_dice)([logits], labels), dice_loss(logits, labels, batch=False))
    torch.testing.assert_close(SegmentationLoss(only_entropy)([logits], labels), cross_entropy(logits, labels))


def test_the_focal_loss_worked_by_hand() -> None:
    # p = 0.8 and 0.5 of the right class: (0.2^2 x -log 0.8 + 0.5^2 x -log 0.5) / 2 = (0.0089257 + 0.1732868) / 2
    logits = torch.tensor([[[[0.8, 0.5]], [[0.2, 0.5]]]]).log()
    loss = SegmentationLoss(LossConfig(dice=0, cross_entropy=0, others={"focal": 1.0}))
    assert float(loss([logits], torch.zeros(1, 1, 1, 2))) == pytest.approx(0.0911062, abs=1e-6)


def test_the_focal_loss_is_monai_s_summed_over_the_classes() -> None:
    logits, labels = example(4)
    reference = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0)(logits, labels)  # a mean over the classes too
    torch.testing.assert_close(LOSSES["focal"](logits, Target(labels), LossConfig()), 4 * reference)


def test_a_further_loss_is_added_with_its_weight() -> None:
    logits, labels = example()
    config = LossConfig(dice=0.5, cross_entropy=0, others={"focal": 2.0})
    expected = 0.5 * dice_loss(logits, labels, batch=False) + 2 * LOSSES["focal"](logits, Target(labels), config)
    torch.testing.assert_close(SegmentationLoss(config)([logits], labels), expected)


def test_a_loss_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match=r"losses among dice, .*; found focl, hinge\. Correct training\.loss"):
        SegmentationLoss(LossConfig(others={"hinge": 1.0, "focal": 1.0, "focl": 0.0}))


@pytest.mark.parametrize("levels", [1, 2, 3, 7])
def test_coarser_levels_count_half_of_the_one_before_and_all_weights_sum_to_1(levels: int) -> None:
    labels = torch.zeros(1, 1, 2, 2, 2, dtype=torch.long)
    only_entropy = SegmentationLoss(LossConfig(dice=0))
    right, wrong = torch.tensor([50.0, 0.0]), torch.tensor([0.0, 50.0])  # a cross-entropy of 0, and of 50

    def level_alone(level: int) -> float:
        logits = [
            (wrong if each == level else right).view(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 2) for each in range(levels)
        ]
        return float(only_entropy(logits, labels)) / 50

    weights = [level_alone(level) for level in range(levels)]
    assert sum(weights) == pytest.approx(1.0)
    assert [weight / weights[0] for weight in weights] == pytest.approx([0.5**level for level in range(levels)])


def test_the_target_of_a_coarser_level_is_the_nearest_voxel() -> None:
    logits, labels = example()
    coarse = torch.randn(2, 3, 2, 3, 2, generator=torch.Generator().manual_seed(1))
    near = labels[:, :, 1::2, 1::2, 1::2]  # output j of n/2 lies at 2j + 1/2, rounded up
    loss = SegmentationLoss(LossConfig(dice=0))
    expected = (cross_entropy(logits, labels) + 0.5 * cross_entropy(coarse, near)) / 1.5
    torch.testing.assert_close(loss([logits, coarse], labels), expected)


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    logits, labels = example()
    half = logits.to(torch.bfloat16)
    loss = SegmentationLoss(LossConfig())([half], labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, SegmentationLoss(LossConfig())([half.float()], labels))


def test_a_batch_without_any_structure_has_a_finite_loss() -> None:
    logits, labels = example()
    logits = logits.requires_grad_()
    loss = SegmentationLoss(LossConfig())([logits], torch.zeros_like(labels))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_perfect_prediction_has_no_loss() -> None:
    _, labels = example()
    logits = 100.0 * torch.nn.functional.one_hot(labels[:, 0], 3).movedim(-1, 1).float()
    assert float(SegmentationLoss(LossConfig())([logits], labels)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("part", ["dice", "cross_entropy"])
def test_ignored_voxels_have_no_part_in_the_loss_and_get_no_gradient(part: str) -> None:
    logits, labels = example()
    logits = logits.requires_grad_()
    labels[:, :, 2:] = IGNORED
    config = LossConfig.model_validate({"dice": 0, "cross_entropy": 0} | {part: 1})
    loss = SegmentationLoss(config)([logits], labels)
    torch.testing.assert_close(loss, SegmentationLoss(config)([logits[:, :, :2]], labels[:, :, :2]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[:, :, :2].any()
    assert not gradient[:, :, 2:].any()


def test_a_batch_of_ignored_voxels_has_no_loss_and_no_gradient() -> None:
    logits, labels = example()
    logits = logits.requires_grad_()
    loss = SegmentationLoss(LossConfig())([logits], torch.full_like(labels, IGNORED))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-5)
    assert not gradient.any()


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("shape", [(8, 12, 8), (16, 24)])
def test_it_is_the_loss_of_monai(shape: tuple[int, ...], batch_dice: bool) -> None:
    random = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 3, *(n // scale for n in shape), generator=random) for scale in (1, 2)]
    labels = torch.randint(0, 3, (2, 1, *shape), generator=random)
    config = LossConfig(dice=0.7, cross_entropy=1.5, batch_dice=batch_dice)
    reference = DeepSupervisionLoss(
        DiceCELoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=batch_dice,
            smooth_nr=SMOOTH,
            smooth_dr=SMOOTH,
            lambda_dice=0.7,
            lambda_ce=1.5,
        ),
        weights=[1.0, 0.5],
    )
    torch.testing.assert_close(SegmentationLoss(config)(logits, labels), reference(logits, labels.float()) / 1.5)


def test_weights_count_in_the_cross_entropy_and_not_in_dice() -> None:
    logits, labels = example()
    weights = torch.ones_like(labels, dtype=torch.float32)
    weights[:, :, :2] = 3.0
    entropy, dice = SegmentationLoss(LossConfig(dice=0)), SegmentationLoss(LossConfig(cross_entropy=0))
    halves = [float(cross_entropy(logits[:, :, half], labels[:, :, half])) for half in (slice(2), slice(2, None))]
    assert float(entropy([logits], labels, weights)) == pytest.approx((3 * halves[0] + halves[1]) / 4, rel=1e-5)
    assert float(dice([logits], labels, weights)) == float(dice([logits], labels))
    torch.testing.assert_close(entropy([logits], labels, torch.ones_like(weights)), entropy([logits], labels))
