"""The examples of docs/extending.md, run as they stand there."""

import re
from pathlib import Path

import pytest
import torch
from monai.losses import TverskyLoss
from pydantic import ValidationError

from pipeline.config.blocks import BLOCKS
from pipeline.config.network import NetworkConfig
from pipeline.config.training import LossConfig
from pipeline.losses.segmentation import LOSSES, SegmentationLoss
from pipeline.networks.summary import summarise_unet
from pipeline.networks.unet import UNet

PAGE = Path(__file__).parent.parent / "docs" / "extending.md"


def run_example(heading: str) -> None:
    """Run the code below a heading of the page."""
    part = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    exec(compile(code, f"{PAGE} ({heading})", "exec"), {})


@pytest.fixture
def bottleneck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's block, until the test is over."""
    monkeypatch.setitem(BLOCKS, "bottleneck", BLOCKS["plain"])
    run_example("A block")


@pytest.fixture
def tversky(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's loss, until the test is over."""
    monkeypatch.setitem(LOSSES, "tversky", LOSSES["dice"])
    run_example("A loss")


@pytest.mark.usefixtures("bottleneck")
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_block_that_is_added_makes_a_network_for_images_and_volumes(dimensions: int) -> None:
    config = NetworkConfig(dimensions=dimensions, block="bottleneck", features=(4, 8, 8), deep_supervision=1)
    network = UNet(config, channels=1, classes=3)
    logits = network(torch.randn(2, 1, *(16,) * dimensions))
    assert [tuple(each.shape) for each in logits] == [(2, 3, *(size,) * dimensions) for size in (16, 8)]
    # the widening convolution: a quarter of 4 channels to 4, over one voxel
    widening = network.get_parameter("encoder.0.blocks.0.branches.main.2.0.weight")
    assert widening.shape == (4, 1, *(1,) * dimensions)


@pytest.mark.usefixtures("bottleneck")
def test_its_receptive_field_and_its_least_channels_follow_from_its_layers() -> None:
    config = NetworkConfig(dimensions=2, block="bottleneck", features=(4, 8), deep_supervision=0)
    summary = summarise_unet(config, channels=1, classes=2, patch_size=(8, 8), batch_size=1)
    assert summary.receptive_field_voxels == (11, 11)  # 1 + 2 + 2 + 2 + 2 x 2, by a kernel of 3 in each block
    with pytest.raises(ValidationError, match=r"features\[0\] must be 4 or more, .* bottleneck blocks .* found 3"):
        NetworkConfig(dimensions=2, block="bottleneck", features=(3, 8), deep_supervision=0)


def test_the_example_s_block_is_gone_when_its_test_is_over() -> None:
    with pytest.raises(ValidationError, match=r"must be one of plain, .*, found 'bottleneck'"):
        NetworkConfig(block="bottleneck")


@pytest.mark.usefixtures("tversky")
def test_a_loss_that_is_added_is_weighted_by_its_name() -> None:
    random = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 6, generator=random), torch.randint(0, 3, (2, 1, 4, 6), generator=random)
    reference = TverskyLoss(
        include_background=False, to_onehot_y=True, softmax=True, alpha=0.3, beta=0.7, batch=True, smooth_nr=1e-5
    )
    loss = SegmentationLoss(LossConfig(dice=0, cross_entropy=0, others={"tversky": 2}))
    torch.testing.assert_close(loss([logits], labels), 2 * reference(logits, labels))
