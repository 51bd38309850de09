from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from pipeline.errors import ModelError
from pipeline.quality.fitted import Fitted, below


@dataclass(frozen=True, eq=False)
class Inner(Fitted):
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outer(Fitted):
    inner: Inner
    parts: tuple[Inner, ...]
    places: NDArray[np.int64]
    count: int
    rate: float


OUTER = Outer(Inner(np.arange(3.0)), (Inner(np.zeros(1)), Inner(np.ones(2))), np.array([2, 0]), 5, 0.25)


def test_the_names_of_nested_arrays_have_dots() -> None:
    assert list(OUTER.to_arrays()) == [
        "inner.values",
        "parts.0.values",
        "parts.1.values",
        "places",
        "count",
        "rate",
    ]


def test_a_safetensors_file_gives_back_what_was_written_to_it() -> None:
    found = Outer.from_arrays(load(save(OUTER.to_arrays())))
    assert (found.count, found.rate, len(found.parts)) == (5, 0.25, 2)
    assert (type(found.count), type(found.rate)) == (int, float)
    assert found.inner.values.tolist() == [0, 1, 2]
    assert [part.values.tolist() for part in found.parts] == [[0], [1, 1]]
    assert found.places.tolist() == [2, 0]
    assert found.places.dtype == np.int64


def test_what_lies_transposed_in_memory_is_written_in_order() -> None:
    transposed = Inner(np.arange(6.0).reshape(2, 3).T)
    found = Inner.from_arrays(load(save(transposed.to_arrays())))
    assert found.values.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_more_than_ten_parts_keep_their_order() -> None:
    many = Outer(OUTER.inner, tuple(Inner(np.array([float(n)])) for n in range(12)), OUTER.places, 1, 1.0)
    found = Outer.from_arrays(dict(sorted(many.to_arrays().items())))
    assert [part.values.item() for part in found.parts] == list(range(12))


def test_a_missing_array_is_named() -> None:
    arrays = OUTER.to_arrays()
    del arrays["rate"]
    with pytest.raises(ModelError, match="an array 'rate'"):
        Outer.from_arrays(arrays)


def test_several_things_share_a_file_under_names_of_their_own() -> None:
    arrays = {f"gate.{name}": array for name, array in OUTER.to_arrays().items()} | {"gates": np.zeros(1)}
    assert Outer.from_arrays(below("gate", arrays)).count == 5
