from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.preprocessing import PreprocessingConfig
from pipeline.errors import ConfigError, DatasetError
from pipeline.preprocessing.fit import FOREGROUND_SAMPLES, Fingerprint, fingerprint, fit, target_spacing_mm
from pipeline.preprocessing.fitted import ClipNormalisation, FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.ranges import Measured
from pipeline.scan import Scan

THICK: list[tuple[float, ...]] = [(0.7, 0.7, 5.0), (0.8, 0.8, 4.0), (0.9, 0.9, 6.0)]


def case(
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0),
    shape: tuple[int, ...] = (50, 50, 50),
    cropped_share: float = 1.0,
    foreground: NDArray[np.float32] | None = None,
) -> Fingerprint:
    values = np.arange(10, dtype=np.float32)[None] if foreground is None else foreground
    return Fingerprint(spacing_mm, shape, cropped_share, values, Measured({}, np.zeros((1, 3)), spacing_mm, False))


def test_the_target_is_the_median_spacing_of_each_axis() -> None:
    spacings: list[tuple[float, ...]] = [(1.0, 2.0, 1.0), (2.0, 2.5, 1.5), (1.5, 4.0, 2.0)]
    assert target_spacing_mm(spacings, [(60, 60, 60)] * 3, ratio=3.0) == (1.5, 2.5, 1.5)


@pytest.mark.parametrize(
    ("spacings", "axis"),
    [
        ([(5.0, 1.0, 1.0), (6.0, 1.0, 1.0)], 0),
        ([(1.0, 1.0, 1.0)], 2),
        ([(1.05, 1.0, 1.0)], 2),  # less than a tenth coarser
        ([(4.0, 4.0, 1.0)], 2),  # two of the same: there are no slices
    ],
)
def test_slices_lie_across_the_coarsest_axis(spacings: list[tuple[float, ...]], axis: int) -> None:
    cases = [case(spacing) for spacing in spacings]
    assert fit(cases, ("MR",), PreprocessingConfig(), dimensions=2).slice_axis == axis
    assert fit(cases, ("MR",), PreprocessingConfig(slice_axis=1), dimensions=2).slice_axis == 1
    assert fit(cases, ("MR",), PreprocessingConfig()).slice_axis is None


def test_thick_slices_get_the_10th_percentile() -> None:
    # medians 0.8, 0.8, 5: 5 > 3 x 0.8 and 30 x 3 < 200; the 10th percentile of 4, 5, 6 is 4 + 0.2 x 1 = 4.2
    target = target_spacing_mm(THICK, [(200, 200, 30)] * 3, ratio=3.0)
    assert target == pytest.approx((0.8, 0.8, 4.2))


def test_thick_slices_that_are_many_keep_the_median() -> None:
    assert target_spacing_mm(THICK, [(200, 200, 70)] * 3, ratio=3.0) == (0.8, 0.8, 5.0)  # 70 x 3 = 210 > 200


def test_slices_less_than_the_ratio_thicker_keep_the_median() -> None:
    assert target_spacing_mm(THICK, [(200, 200, 10)] * 3, ratio=7.0) == (0.8, 0.8, 5.0)  # 5 < 7 x 0.8 = 5.6


def test_the_thickest_axis_is_compared_with_the_coarsest_of_the_others() -> None:
    spacings: list[tuple[float, ...]] = [(0.5, 2.0, 5.0), (0.5, 2.0, 4.0), (0.5, 2.0, 6.0)]
    assert target_spacing_mm(spacings, [(200, 200, 30)] * 3, ratio=3.0) == (0.5, 2.0, 5.0)  # 5 < 3 x 2


def test_the_10th_percentile_never_goes_below_the_other_axes() -> None:
    # ten thin cases of 0.5 mm among 21: the median stays 5, the 10th percentile would be 0.5, below the 1.0 in plane
    spacings: list[tuple[float, ...]] = [(1.0, 1.0, 0.5 if case < 10 else 5.0) for case in range(21)]
    target = target_spacing_mm(spacings, [(200, 200, 30)] * 21, ratio=3.0)
    assert target == pytest.approx((1.0, 1.0, 1.00001), abs=1e-9)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("auto", (2.0, 1.0, 1.0)), ("native", None), ((3.0, 3.0, 3.0), (3.0, 3.0, 3.0))],
)
def test_the_spacing_is_fitted_kept_or_given(asked: str, expected: tuple[float, ...] | None) -> None:
    config = PreprocessingConfig.model_validate({"spacing_mm": asked})
    assert fit([case(spacing_mm=(2.0, 1.0, 1.0))] * 3, ("MRI",), config).spacing_mm == expected


def test_ct_is_fitted_on_the_foreground_of_all_cases() -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(40, 30, (1, 1000)).astype(np.float32), rng.normal(80, 30, (1, 500)).astype(np.float32)]
    (channel,) = fit([case(foreground=each) for each in values], ("CT",), PreprocessingConfig()).channels
    together = np.concatenate([each.ravel() for each in values]).astype(np.float64)
    assert isinstance(channel, ClipNormalisation)
    assert channel.low == pytest.approx(np.quantile(together, 0.005))
    assert channel.high == pytest.approx(np.quantile(together, 0.995))
    assert channel.mean == pytest.approx(together.sum() / 1500)
    assert channel.std == pytest.approx(np.sqrt(((together - together.mean()) ** 2).sum() / 1500))


@pytest.mark.parametrize(
    ("intensity", "modalities", "kinds"),
    [
        ("auto", ("CT", "MRI"), ["clip", "zscore"]),
        ("auto", ("ct", "CTA"), ["clip", "zscore"]),
        ("ct", ("MRI", "PET"), ["clip", "clip"]),
        ("zscore", ("CT", "CT"), ["zscore", "zscore"]),
    ],
)
def test_the_modality_or_the_setting_chooses_the_normalisation(
    intensity: str, modalities: tuple[str, ...], kinds: list[str]
) -> None:
    config = PreprocessingConfig.model_validate({"intensity": intensity})
    cases = [case(foreground=np.arange(20, dtype=np.float32).reshape(2, 10))]
    assert [channel.kind for channel in fit(cases, modalities, config).channels] == kinds


def test_each_ct_channel_has_statistics_of_its_own() -> None:
    cases = [case(foreground=np.array([[1, 3], [10, 30]], np.float32))]
    channels = fit(cases, ("CT", "CT"), PreprocessingConfig()).channels
    assert [channel.mean for channel in channels if isinstance(channel, ClipNormalisation)] == [2.0, 20.0]


def test_a_constant_foreground_leaves_a_deviation_to_divide_by() -> None:
    (channel,) = fit([case(foreground=np.full((1, 5), 7, np.float32))], ("CT",), PreprocessingConfig()).channels
    assert isinstance(channel, ClipNormalisation)
    assert channel.std == 1e-8


def test_ct_without_any_foreground_to_fit_on_is_refused() -> None:
    cases = [case(foreground=np.zeros((1, 0), np.float32))] * 3
    with pytest.raises(ConfigError, match=r"none in any of 3\. .* or set preprocessing\.intensity=zscore"):
        fit(cases, ("CT",), PreprocessingConfig())


@pytest.mark.parametrize(
    ("shares", "crop", "expected"),
    [
        ([0.5, 0.7, 0.9], "nonzero", True),  # median 0.7 < 0.75
        ([0.5, 0.8, 0.9], "nonzero", False),
        ([0.1, 0.1, 0.1], "none", False),
    ],
)
def test_zeros_are_background_where_cropping_removes_much(shares: list[float], crop: str, expected: bool) -> None:
    config = PreprocessingConfig.model_validate({"crop": crop})
    (channel,) = fit([case(cropped_share=share) for share in shares], ("MRI",), config).channels
    assert channel == ScanNormalisation(nonzero_only=expected)


def test_a_fingerprint_is_in_ras_order_after_cropping() -> None:
    array = np.zeros((1, 4, 5, 6), np.float32)
    array[0, 1:3, :, 2:6] = 9.0
    affine = np.array([[0, -2.0, 0, 0], [0, 0, 3.0, 0], [0.5, 0, 0, 0], [0, 0, 0, 1]])  # axes S, L, A
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3], labels[2, 2, 2] = 1, 4
    array[0, 1, 2, 3], array[0, 2, 2, 2] = 5.0, 6.0
    print_ = fingerprint(Scan(array, affine, Path("scan.nii")), labels)
    assert print_.spacing_mm == (2.0, 3.0, 0.5)
    assert print_.shape == (5, 4, 2)
    assert print_.cropped_share == pytest.approx(40 / 120)
    assert print_.foreground.tolist() == [[5.0, 6.0]]


@pytest.mark.parametrize("side", [20, 27, 44])  # 8,000, 19,683 and 85,184 voxels
def test_a_fingerprint_samples_a_large_foreground_evenly(side: int) -> None:
    array = np.arange(side**3, dtype=np.float32).reshape(1, side, side, side)
    found = fingerprint(Scan(array, np.eye(4), Path("scan.nii")), np.ones((side, side, side), np.uint8))
    values = found.foreground[0]
    assert FOREGROUND_SAMPLES // 2 < len(values) <= FOREGROUND_SAMPLES
    assert len(np.unique(np.diff(values))) == 1
    assert values[-1] > 0.99 * side**3 - 10


def test_the_unit_is_the_one_of_the_cases_and_they_have_to_agree() -> None:
    volume = case()
    picture = replace(volume, unit="px")
    assert fit([volume, volume], ("MR",), PreprocessingConfig()).unit == "mm"
    assert fit([picture, picture], ("MR",), PreprocessingConfig()).unit == "px"
    with pytest.raises(DatasetError, match=r"all have a spacing, or none; found 1 of 3 without"):
        fit([volume, picture, volume], ("MR",), PreprocessingConfig())


def test_a_fingerprint_knows_whether_there_is_a_spacing() -> None:
    scan = Scan(np.ones((1, 2, 2, 1)), np.diag([-1.0, -1, 1, 1]), Path("scan.png"), "px")
    assert fingerprint(scan, np.ones((2, 2, 1), np.uint8)).unit == "px"


@pytest.mark.parametrize(
    ("slice_axis", "ras_axes", "expected"),
    [
        (None, (0, 1, 2), (0, 1, 2)),
        (2, (0, 1), (0, 1)),
        (2, (0, 1, 2), (0, 1)),
        (0, (1,), (0,)),  # across left and right, a slice has back-front first, then foot-head
        (0, (0, 2), (1,)),
        (1, (0, 2), (0, 1)),
    ],
)
def test_axes_of_slices_are_those_that_are_left(
    slice_axis: Literal[0, 1, 2] | None, ras_axes: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    fitted = FittedPreprocessing(
        spacing_mm=None,
        crop="none",
        channels=(ScanNormalisation(),),
        resampling_order=1,
        anisotropy_ratio=3,
        slice_axis=slice_axis,
    )
    assert fitted.prepared_axes(ras_axes) == expected
