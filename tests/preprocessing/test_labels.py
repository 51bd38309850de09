import numpy as np
import pytest

from pipeline.errors import ScanError
from pipeline.preprocessing.labels import to_classes, to_values, unknown_labels, values_in


def test_mask_values_become_class_numbers_in_the_order_given() -> None:
    mask = np.array([[0, 4], [500, 4]], np.uint16)
    classes = to_classes(mask, (4, 500))
    assert classes.dtype == np.uint8
    assert classes.tolist() == [[0, 1], [2, 1]]
    assert to_classes(mask, (500, 4)).tolist() == [[0, 2], [1, 2]]


def test_class_numbers_become_mask_values_in_the_smallest_type() -> None:
    classes = np.array([0, 1, 2], np.uint8)
    assert to_values(classes, (4, 255)).tolist() == [0, 4, 255]
    assert to_values(classes, (4, 255)).dtype == np.uint8
    assert to_values(classes, (4, 256)).tolist() == [0, 4, 256]
    assert to_values(classes, (4, 256)).dtype == np.uint16


@pytest.mark.parametrize("values", [(1,), (1, 2, 3), (3, 1), (65535, 7)])
def test_values_and_back_is_the_same_mask(values: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).choice([0, *values], size=(3, 4, 5)).astype(np.uint16)
    np.testing.assert_array_equal(to_values(to_classes(mask, values), values), mask)


def test_a_mask_without_any_structure_is_fine() -> None:
    assert not to_classes(np.zeros((2, 2), np.uint8), (3, 9)).any()


def test_values_that_were_not_declared_are_named() -> None:
    mask = np.array([0, 1, 2, 5, 300], np.uint16)
    with pytest.raises(ScanError, match=r"the label values 0, 1, 2; found also 5, 300\. Correct the mask, or declare"):
        to_classes(mask, (1, 2))


def test_the_background_is_no_label() -> None:
    assert values_in(np.array([[0, 7], [300, 7]], np.uint16)) == frozenset({7, 300})
    assert unknown_labels(values_in(np.zeros((2, 2), np.uint8)), {1}) is None


def test_unknown_labels_are_named_beside_the_known_ones() -> None:
    assert unknown_labels({1, 2}, (2, 1)) is None
    error = unknown_labels({1, 12, 9}, (2, 1), "Go.")
    assert str(error) == "Expected the label values 0, 1, 2; found also 9, 12. Go."
