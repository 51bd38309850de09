import itertools

import pytest
import torch

from pipeline.config.network import NetworkConfig
from pipeline.errors import ConfigError
from pipeline.sizes import Window, fits, nearest_fitting, output_size, receptive_field, trace

HALVE = Window("down", (3,), (2,), (1,))
SAME = Window("same", (3,), (1,), (1,))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        (5, 3, 1, 1, 5),  # (5 - 3 + 2)/1 + 1
        (40, 3, 2, 1, 20),  # (40 - 3 + 2)/2 + 1 = 19.5 + 1, rounded down
        (41, 3, 2, 1, 21),  # (41 - 3 + 2)/2 + 1 = 20 + 1
        (8, 2, 2, 0, 4),  # (8 - 2)/2 + 1
        (7, 7, 1, 0, 1),
    ],
)
def test_output_sizes_worked_by_hand(size: int, kernel: int, stride: int, padding: int, expected: int) -> None:
    assert output_size(size, kernel=kernel, stride=stride, padding=padding) == expected


@pytest.mark.parametrize(("kernel", "stride"), list(itertools.product([1, 3, 5, 7], [1, 2, 3])))
def test_output_sizes_are_those_of_torch(kernel: int, stride: int) -> None:
    convolution = torch.nn.Conv1d(1, 1, kernel, stride, kernel // 2)
    for size in range(kernel, 30):
        assert (
            output_size(size, kernel=kernel, stride=stride, padding=kernel // 2)
            == convolution(torch.zeros(1, 1, size)).shape[-1]
        )


def test_a_trace_lists_the_size_after_each_window() -> None:
    pool = Window("pool", (2, 1), (2, 1), (0, 0))
    convolution = Window("convolution", (3, 3), (1, 1), (1, 1))
    assert trace((16, 12), [convolution, pool, convolution, pool]) == [(16, 12), (8, 12), (8, 12), (4, 12)]


def test_a_size_fits_if_every_stride_divides_it() -> None:
    assert [size for size in range(1, 17) if fits(size, 0, [SAME, HALVE, SAME, HALVE])] == [4, 8, 12, 16]


def test_the_nearest_sizes_that_fit_lie_on_either_side() -> None:
    assert nearest_fitting(10, 0, [HALVE, HALVE]) == [8, 12]
    assert nearest_fitting(3, 0, [HALVE, HALVE]) == [4]  # nothing below fits


def test_a_misfit_names_the_layer_the_axis_the_size_there_and_the_nearest_sizes() -> None:
    windows = NetworkConfig(features=(8, 16, 32), deep_supervision=0).encoder_windows()
    with pytest.raises(
        ConfigError,
        match=r"along axis 1 .*found 42 voxels, which reach layer encoder\.2\.blocks\.0 as 21, where its stride of 2 .*"
        r"Use 40 or 44 voxels along axis 1, or change network\.strides\.",
    ):
        trace((64, 42, 64), windows)


def test_a_misfit_without_any_size_that_fits_names_none() -> None:
    widens = Window("widens", (2,), (1,), (1,))  # m - 2 + 2 + 1 = m + 1: never the size that it was
    with pytest.raises(ConfigError, match=r"same size\. Change network\.strides\."):
        trace((8,), [widens])


def test_the_receptive_field_worked_by_hand() -> None:
    # 1 -> 3 (3x1) -> 5 (3x1) -> 7 (stride 2 begins) -> 7 + 2*2 = 11
    assert receptive_field([SAME, SAME, HALVE, SAME]) == (11,)


def test_the_receptive_field_is_where_a_voxel_s_gradient_reaches() -> None:
    layers = [(3, 1), (5, 2), (3, 3), (3, 1)]
    x = torch.zeros(1, 1, 301, requires_grad=True)
    y = x
    for kernel, stride in layers:
        weight = torch.ones(1, 1, kernel)
        y = torch.nn.functional.conv1d(y, weight, stride=stride, padding=kernel // 2)
    y[0, 0, y.shape[-1] // 2].backward()
    assert x.grad is not None
    windows = [Window("layer", (kernel,), (stride,), (kernel // 2,)) for kernel, stride in layers]
    assert receptive_field(windows) == (int((x.grad != 0).sum()),)
