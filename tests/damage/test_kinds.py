"""What holds for every kind of damage."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.damage.kinds import DAMAGES, GEOMETRY, INTENSITY, damage, damage_with_mask
from pipeline.scan import Scan
from tests.damage.scans import LARGEST, scan_of, smooth

SHAPES = [(1, 16, 14, 12), (2, 16, 14, 12), (1, 16, 14, 1), (3, 16, 14, 1), (1, 1, 14, 12), (1, 9, 1, 1), (1, 1, 1, 1)]


def damaged(scan: Scan, kind: str, strength: float = 0.5, seed: int = 0) -> Scan:
    return damage(scan, kind, strength=strength, rng=np.random.default_rng(seed))


def test_there_are_eleven_kinds_of_which_two_move_the_anatomy() -> None:
    assert set(GEOMETRY) == {"axes", "flip"}
    assert set(INTENSITY) | set(GEOMETRY) == set(DAMAGES)
    assert len(DAMAGES) == len(INTENSITY) + 2 == 11


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_takes_volumes_pictures_and_channels(kind: str, shape: tuple[int, ...]) -> None:
    scan = smooth(shape)
    before = scan.array.copy()
    for strength in (0.01, 0.5, 1.0):
        after = damaged(scan, kind, strength)
        assert after.array.dtype == np.float32
        assert np.isfinite(after.array).all()
        assert after.channels == scan.channels
        assert sorted(after.shape) == sorted(scan.shape)
        assert after.shape == scan.shape or kind == "axes"
        assert after.affine.tolist() == scan.affine.tolist()
    assert (scan.array == before).all()


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("shape", [(2, 16, 14, 12), (1, 16, 14, 1)])
def test_every_kind_changes_a_scan(kind: str, shape: tuple[int, ...]) -> None:
    scan = smooth(shape)
    assert damaged(scan, kind).array.tobytes() != scan.array.tobytes()


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_generator_in_the_same_state_gives_the_same_bytes(kind: str) -> None:
    scan = smooth((2, 16, 14, 12))
    assert damaged(scan, kind).array.tobytes() == damaged(scan, kind).array.tobytes()
    seeds = {zlib.crc32(damaged(scan, kind, seed=seed).array.tobytes()) for seed in range(8)}
    assert len(seeds) > 1 or kind == "blur"  # which has nothing to draw


@pytest.mark.parametrize("kind", DAMAGES)
def test_as_many_random_numbers_are_drawn_at_every_strength(kind: str) -> None:
    states = []
    for strength in (0.01, 1.0):
        rng = np.random.default_rng(0)
        damage(smooth((2, 8, 7, 6)), kind, strength=strength, rng=rng)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1]


@pytest.mark.parametrize("kind", INTENSITY)
@pytest.mark.parametrize("shape", [(1, 24, 22, 20), (1, 60, 50, 1)])
@pytest.mark.parametrize("seed", range(6))
def test_the_distance_from_the_original_grows_with_the_strength(kind: str, shape: tuple[int, ...], seed: int) -> None:
    scan = smooth(shape)
    distances = [
        float(np.sqrt(np.mean((damaged(scan, kind, strength, seed).array - scan.array) ** 2)))
        for strength in (0.1, 0.3, 0.6, 1.0)
    ]
    assert distances == sorted(set(distances))
    assert distances[0] > 0


@pytest.mark.parametrize("kind", sorted(set(INTENSITY) - {"missing", "patch", "downsampled"}))
def test_next_to_no_strength_leaves_a_scan_nearly_as_it_is(kind: str) -> None:
    scan = smooth()
    for seed in range(5):
        assert damaged(scan, kind, 1e-3, seed).array == pytest.approx(scan.array, abs=5)  # of 1000


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("value", [0.0, -1000.0, 3.5, LARGEST, -LARGEST])
@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (1, 6, 5, 1)])
def test_a_scan_of_one_value_stays_finite(kind: str, value: float, shape: tuple[int, ...]) -> None:
    assert np.isfinite(damaged(scan_of(np.full(shape, value)), kind, 1.0).array).all()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(DAMAGES)),
    shape=st.tuples(*(st.integers(1, n) for n in (2, 5, 5, 5))),
    strength=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-40, 1.0, LARGEST]),
    dtype=st.sampled_from(["<f4", ">f8"]),
)
def test_finite_values_stay_finite(
    kind: str, shape: tuple[int, ...], strength: float, seed: int, scale: float, dtype: str
) -> None:
    values = np.random.default_rng(seed).choice((-1.0, 0.0, 1e-3, 1.0), shape) * scale
    assert np.isfinite(damaged(scan_of(values.astype(dtype)), kind, strength, seed).array).all()


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u4", "<f8"])
def test_the_type_of_the_numbers_makes_no_difference(kind: str, dtype: str) -> None:
    whole = np.random.default_rng(0).integers(0, 255, (1, 7, 6, 5))
    of_type, of_floats = scan_of(whole.astype(dtype)), scan_of(whole.astype(np.float32))
    assert damaged(of_type, kind).array.tobytes() == damaged(of_floats, kind).array.tobytes()


@pytest.mark.parametrize("kind", GEOMETRY)
@pytest.mark.parametrize("shape", [(1, 9, 8, 7), (1, 9, 8, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_the_mask_moves_as_the_scan_does(kind: str, shape: tuple[int, ...], seed: int) -> None:
    mask = np.random.default_rng(1).integers(0, 3, shape[1:]).astype(np.uint8)
    scan, moved = damage_with_mask(scan_of(mask[None]), mask, kind, strength=0.5, rng=np.random.default_rng(seed))
    assert scan.array[0].tolist() == moved.tolist() != mask.tolist()
    assert moved.dtype == np.uint8


@pytest.mark.parametrize("kind", INTENSITY)
def test_the_mask_stays_where_the_anatomy_does(kind: str) -> None:
    scan = smooth()
    mask = (scan.array[0] > 500).astype(np.uint8)
    _, same = damage_with_mask(scan, mask, kind, strength=0.5, rng=np.random.default_rng(0))
    assert same.tolist() == mask.tolist()


@pytest.mark.parametrize("kind", DAMAGES)
def test_with_its_mask_a_scan_gets_the_same_damage_as_without(kind: str) -> None:
    scan = smooth()
    mask = (scan.array[0] > 500).astype(np.uint8)
    with_mask, _ = damage_with_mask(scan, mask, kind, strength=0.5, rng=np.random.default_rng(3))
    assert with_mask.array.tobytes() == damaged(scan, kind, seed=3).array.tobytes()


def test_a_picture_stays_one() -> None:
    picture = replace(smooth((3, 16, 14, 1)), unit="px", affine=np.diag([-1.0, -1, 1, 1]))
    assert {damaged(picture, kind).unit for kind in DAMAGES} == {"px"}


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.5, float("nan")])
def test_a_strength_beyond_its_range_is_a_fault_of_the_program(strength: float) -> None:
    with pytest.raises(AssertionError, match=str(strength)):
        damaged(smooth(), "blur", strength)


def test_a_mask_of_another_shape_is_a_fault_of_the_program() -> None:
    with pytest.raises(AssertionError, match=r"\(2, 2, 2\), \(24, 22, 20\)"):
        damage_with_mask(smooth(), np.zeros((2, 2, 2)), "flip", strength=1, rng=np.random.default_rng(0))


def test_an_unknown_kind_is_a_fault_of_the_program() -> None:
    with pytest.raises(KeyError, match="scratches"):
        damaged(smooth(), "scratches")
