"""Names and values as MLflow takes them."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any

LONGEST_VALUE = 500
LONGEST_NAME = 240


def legal_names(names: Iterable[str]) -> dict[str, str]:
    """The names under which MLflow takes metrics, parameters and tags: labels may be called what it refuses.

    What is neither letter, digit nor one of ``_-. :`` becomes ``_``; where two names come out as one, the later one
    gets a number.

    Example:
        >>> legal_names(["dice_tumor (core)", "dice_tumor [core]"])
        {'dice_tumor (core)': 'dice_tumor _core_', 'dice_tumor [core]': 'dice_tumor _core__2'}
    """
    legal: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w\-. :]", "_", name)[:LONGEST_NAME]
        numbered = (f"{plain}_{number}" for number in count(2))
        legal[name] = next(each for each in chain([plain], numbered) if each not in legal.values())
    return legal


def flat_settings(settings: dict[str, Any]) -> dict[str, str]:
    """Nested settings under dotted legal names; values that are too long are cut."""
    values = dict(_flat(settings))
    return {legal: str(values[name])[:LONGEST_VALUE] for name, legal in legal_names(values).items()}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
