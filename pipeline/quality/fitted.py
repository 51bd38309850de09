"""What was fitted, as named arrays and back: kept in a safetensors file beside a model, where nothing is executed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import count, takewhile
from typing import Any, Self, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError


@dataclass(frozen=True, eq=False)
class Fitted:
    """The base of frozen dataclasses whose fields are arrays, numbers, other fitted things and tuples of these.

    The array of a field has the field's name. What lies within a fitted thing has a dot between the two names
    (``scale.mean``), and a thing in a tuple has its place between them (``folds.0.scale.mean``).
    """

    def to_arrays(self) -> dict[str, NDArray]:
        """The fields by name; numbers have no axis."""
        arrays: dict[str, NDArray] = {}
        for field in fields(self):
            arrays |= _named(field.name, getattr(self, field.name))
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Self:
        """What `to_arrays` gave; names that it does not know are left alone.

        Raises:
            ModelError: an array is missing.
        """
        kinds = get_type_hints(cls)
        return cls(**{field.name: _restored(field.name, kinds[field.name], arrays) for field in fields(cls)})


def below(name: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays whose names begin with a name and a dot, without both.

    Example:
        >>> list(below("scale", {"scale.mean": np.zeros(2), "k": np.array(5)}))
        ['mean']
    """
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}


def _named(name: str, value: Any) -> dict[str, NDArray]:
    if isinstance(value, Fitted):
        return {f"{name}.{inner}": array for inner, array in value.to_arrays().items()}
    if isinstance(value, tuple):
        items = [_named(f"{name}.{place}", item) for place, item in enumerate(value)]
        return {key: array for item in items for key, array in item.items()}
    return {name: np.array(value, order="C")}  # safetensors writes memory as it lies, also of what is transposed


def _restored(name: str, kind: Any, arrays: Mapping[str, NDArray]) -> Any:
    if get_origin(kind) is tuple:
        places = takewhile(lambda place: below(f"{name}.{place}", arrays), count())
        return tuple(_restored(f"{name}.{place}", get_args(kind)[0], arrays) for place in places)
    if isinstance(kind, type) and issubclass(kind, Fitted):
        return kind.from_arrays(below(name, arrays))
    if name not in arrays:
        raise ModelError(f"an array {name!r}", f"only {sorted(arrays)}", "Copy the model again.")
    return kind(arrays[name]) if kind in (int, float) else np.array(arrays[name])
