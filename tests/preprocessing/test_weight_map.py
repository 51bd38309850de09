import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from pipeline.preprocessing.weight_map import weight_map

Array = NDArray[np.integer]


def brute_force(
    instances: Array, *, w0: float = 10.0, sigma: float = 5.0, spacing: tuple[float, ...] | None = None
) -> NDArray[np.float64]:
    """The equation, word by word: for each pixel the distances to all border pixels of all cells."""
    steps = np.array(spacing or (1.0,) * instances.ndim)
    places = np.argwhere(np.ones(instances.shape, bool))
    distances = []
    for cell in sorted(set(instances.ravel().tolist()) - {0}):
        border = [place for place in np.argwhere(instances == cell) if is_border(instances, place)]
        distances.append(cdist(places * steps, np.array(border) * steps).min(axis=1))
    d1, d2 = np.sort([*distances, *[np.full(len(places), np.inf)] * 2], axis=0)[:2]
    shares = [np.mean(instances == 0), np.mean(instances > 0)]
    classes = sum(share > 0 for share in shares)
    balance = np.array([1 / (classes * shares[int(number > 0)]) for number in instances.ravel()])
    return np.asarray((balance + w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))).reshape(instances.shape))


def is_border(instances: Array, place: NDArray[np.intp]) -> bool:
    for axis in range(instances.ndim):
        for step in (-1, 1):
            beside = place.copy()
            beside[axis] += step
            within = 0 <= beside[axis] < instances.shape[axis]
            if within and instances[tuple(beside)] != instances[tuple(place)]:
                return True
    return False


def random_cells(seed: int, shape: tuple[int, ...], cells: int) -> Array:
    """Balls of several sizes; later ones lie over earlier ones, and may touch them."""
    generator = np.random.default_rng(seed)
    instances = np.zeros(shape, np.int32)
    grid = np.indices(shape)
    for number in range(1, cells + 1):
        centre = generator.uniform(0, shape).reshape(-1, *[1] * len(shape))
        instances[((grid - centre) ** 2).sum(0) <= generator.uniform(2, 5) ** 2] = number
    return instances


def test_the_background_between_two_cells_weighs_most() -> None:
    # w_c: 2 pixels of 3 are cell, so 3 / (2 * 2) = 0.75 for them and 3 / (2 * 1) = 1.5 for the background, which is one
    # pixel from both cells: d1 + d2 = 2; a cell has d1 = 0 to itself and d2 = 2 to the other
    term = 10 * np.exp(-(2**2) / (2 * 5**2))
    np.testing.assert_allclose(
        weight_map(np.array([[1, 0, 2]]), per_slice=False), [[0.75 + term, 1.5 + term, 0.75 + term]], rtol=1e-6
    )


def test_further_apart_it_weighs_less() -> None:
    weights = [weight_map(np.array([[1, *[0] * gap, 2]]), per_slice=False)[0, 1] for gap in (1, 3, 9)]
    # d1 + d2 = gap + 1 for each of them; w_c = (gap + 2) / (2 * gap)
    expected = [(gap + 2) / (2 * gap) + 10 * np.exp(-((gap + 1) ** 2) / 50) for gap in (1, 3, 9)]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("cells", [2, 6, 25])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_equation_of_the_paper(seed: int, cells: int) -> None:
    instances = random_cells(seed, (24, 30), cells)
    np.testing.assert_allclose(weight_map(instances, per_slice=False), brute_force(instances), atol=2e-6)


def test_beyond_the_surroundings_of_a_cell_nothing_is_missed() -> None:
    instances = random_cells(0, (60, 50), 12)
    for sigma in (0.5, 1.0, 3.0):
        found = weight_map(instances, per_slice=False, w0=20, sigma=sigma)
        np.testing.assert_allclose(found, brute_force(instances, w0=20, sigma=sigma), atol=4e-6)


def test_a_volume_is_weighed_in_three_dimensions_and_with_its_spacing() -> None:
    instances = random_cells(1, (12, 11, 9), 7)
    for spacing in (None, (1.0, 0.5, 3.0)):
        found = weight_map(instances, per_slice=False, spacing=spacing)
        np.testing.assert_allclose(found, brute_force(instances, spacing=spacing), atol=2e-6)


def test_a_stack_is_weighed_image_by_image() -> None:
    stack = np.stack([random_cells(seed, (20, 18), cells) for seed, cells in ((0, 5), (1, 1), (2, 0))], axis=2)
    weights = weight_map(stack, per_slice=True)
    for index in range(3):
        np.testing.assert_array_equal(weights[:, :, index], weight_map(stack[:, :, index], per_slice=False))


def test_an_image_is_a_volume_of_one_slice() -> None:
    image = random_cells(0, (20, 18), 5)
    for per_slice in (False, True):
        np.testing.assert_array_equal(
            weight_map(image[:, :, None], per_slice=per_slice)[:, :, 0], weight_map(image, per_slice=False)
        )


def test_with_fewer_than_two_cells_classes_alone_are_balanced() -> None:
    one = np.zeros((4, 5), np.int32)
    one[1, 1:3] = 3  # 2 of 20 pixels: 20 / (2 * 2) = 5, and 20 / (2 * 18) for the others
    weights = weight_map(one, per_slice=False)
    np.testing.assert_allclose(weights, np.where(one > 0, 5, 20 / 36), rtol=1e-6)
    assert weights.mean() == pytest.approx(1)
    for single in (0, 1):  # a single class weighs 1
        np.testing.assert_array_equal(weight_map(np.full((4, 5), single), per_slice=False), np.ones((4, 5)))


def test_numbers_may_have_gaps_and_a_cell_several_parts() -> None:
    # cell 4 has two parts, between which lies one cell's gap and no border of another: d2 is that to cell 900
    instances = np.array([[4, 0, 4, 0, 0, 900]], np.uint16)
    term = [10 * np.exp(-(distance**2) / 50) for distance in (0 + 5, 1 + 4, 0 + 3, 1 + 2, 2 + 1, 0 + 3)]
    np.testing.assert_allclose(weight_map(instances, per_slice=False), [np.array(term) + 1], rtol=1e-6)


def test_what_counts_in_no_loss_has_no_share_in_the_classes() -> None:
    one, counted = np.zeros((4, 5), np.int32), np.ones((4, 5), bool)
    one[1, 1:3], counted[2:] = 3, False  # 2 of 10 pixels: 10 / (2 * 2), and 10 / (2 * 8) for the others
    weights = weight_map(one, per_slice=False, counted=counted)
    np.testing.assert_allclose(weights[counted], np.where(one > 0, 2.5, 10 / 16)[counted], rtol=1e-6)
    stacked = weight_map(one[:, :, None], per_slice=True, counted=counted[:, :, None])
    np.testing.assert_array_equal(stacked[:, :, 0], weights)
