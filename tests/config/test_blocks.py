"""What blocks are made of, by hand."""

from dataclasses import replace

import pytest

from pipeline.config.blocks import BLOCKS, Block, Conv, Place, Pool, block_window, narrowest, stage_places
from pipeline.sizes import Window

SAME = Place(16, 16, (3, 3, 3), (1, 1, 1))


def test_a_plain_block_is_one_convolution() -> None:
    assert BLOCKS["plain"](Place(4, 8, (3, 1), (2, 1))) == Block({"conv": (Conv(8, (3, 1), (2, 1)),)})


def test_a_residual_block_hands_its_input_on_where_channels_and_size_stay() -> None:
    block = BLOCKS["residual"](SAME)
    ones = (1, 1, 1)
    assert block.branches == {
        "main": (Conv(16, (3, 3, 3), ones), Conv(16, (3, 3, 3), ones, activated=False)),
        "shortcut": (),
    }
    assert block.joined == "added"


@pytest.mark.parametrize(("channels_in", "stride"), [(8, (1, 1, 1)), (16, (2, 2, 1)), (8, (2, 2, 1))])
def test_its_shortcut_is_a_convolution_over_one_voxel_where_channels_or_size_change(
    channels_in: int, stride: tuple[int, ...]
) -> None:
    block = BLOCKS["residual"](replace(SAME, channels_in=channels_in, stride=stride))
    assert block.branches["shortcut"] == (Conv(16, (1, 1, 1), stride, activated=False),)
    assert [layer.stride for layer in block.branches["main"]] == [stride, (1, 1, 1)]


def test_an_inception_block_of_256_channels_is_googlenet_s_first() -> None:
    # Szegedy et al. 2015, table 1, inception (3a): 64; 96 before 128; 16 before 32; pooling before 32
    one = (1, 1)
    assert BLOCKS["inception"](Place(192, 256, (3, 3), one)).branches == {
        "point": (Conv(64, one, one),),
        "middle": (Conv(96, one, one), Conv(128, (3, 3), one)),
        "wide": (Conv(16, one, one), Conv(32, (5, 5), one)),
        "pooled": (Pool((3, 3), one), Conv(32, one, one)),
    }


@pytest.mark.parametrize("width", [8, 9, 15, 20, 36, 100, 320])
def test_the_branches_of_an_inception_block_add_up_to_its_channels(width: int) -> None:
    branches = BLOCKS["inception"](replace(SAME, channels_out=width)).branches.values()
    last = [layers[-1] for layers in branches]
    assert sum(layer.channels for layer in last if isinstance(layer, Conv)) == width


def test_a_larger_kernel_widens_the_branches_and_a_kernel_of_one_voxel_keeps_them_narrow() -> None:
    branches = BLOCKS["inception"](Place(8, 8, (5, 3, 1), (1, 1, 1))).branches
    kernels = {name: [layer.kernel for layer in layers] for name, layers in branches.items()}
    one = (1, 1, 1)
    assert kernels == {
        "point": [one],
        "middle": [one, (5, 3, 1)],
        "wide": [one, (7, 5, 1)],
        "pooled": [(5, 3, 1), one],
    }


def test_one_layer_of_each_branch_takes_the_whole_step() -> None:
    branches = BLOCKS["inception"](Place(8, 8, (3, 3), (2, 1))).branches.values()
    assert [[layer.stride for layer in layers if layer.stride != (1, 1)] for layers in branches] == [[(2, 1)]] * 4


@pytest.mark.parametrize(
    ("kind", "reach"),
    [
        ("plain", (3, 5, 1)),
        ("residual", (7, 9, 1)),  # 1 + 2 + 2 x 2: the second convolution works at half the size; 1 + 4 + 4
        ("inception", (5, 7, 1)),  # the wide branch
    ],
)
def test_a_block_reaches_as_far_as_its_furthest_branch(kind: str, reach: tuple[int, ...]) -> None:
    window = block_window("encoder.1.blocks.0", kind, Place(8, 8, (3, 5, 1), (2, 1, 1)))
    assert window == Window("encoder.1.blocks.0", reach, (2, 1, 1), tuple(k // 2 for k in reach))


def test_a_block_reaches_along_each_axis_as_far_as_any_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    def crossed(place: Place) -> Block:
        tall, broad = Conv(place.channels_out, (5, 1), place.stride), Conv(place.channels_out, (1, 3), place.stride)
        return Block({"tall": (tall,), "broad": (broad,)}, joined="added")

    monkeypatch.setitem(BLOCKS, "crossed", crossed)
    assert block_window("x", "crossed", Place(1, 1, (3, 3), (1, 1))).kernel == (5, 3)


def test_an_inception_block_needs_eight_channels_and_the_others_one() -> None:
    assert {kind: narrowest(kind) for kind in ("plain", "residual", "inception")} == {
        "plain": 1,
        "residual": 1,
        "inception": 8,
    }


def test_the_first_block_of_a_stage_takes_the_step_and_the_change_of_channels() -> None:
    assert stage_places([4, 8, 8], (3, 3), (2, 1)) == [
        Place(4, 8, (3, 3), (2, 1)),
        Place(8, 8, (3, 3), (1, 1)),
    ]
