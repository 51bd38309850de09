"""Labels that differ by side alone, such as left_kidney and right_kidney."""

import re
from collections.abc import Iterable

SIDE = re.compile(r"^(?:left|right)|(?:left|right)$|(?<![^\W_])(?:left|right|lh|rh|l|r)(?![^\W_])")
"""A side as the beginning or the end of a name, or as a word of it; its short forms as a word only."""
OPPOSITE = {"left": "right", "right": "left", "lh": "rh", "rh": "lh", "l": "r", "r": "l"}


def pairs_by_side(names: Iterable[str]) -> list[tuple[str, str]]:
    """The pairs of names that are one but for the side, in English, in upper or lower case.

    A name alone is no pair: what is called "left atrium" may be the only atrium that is segmented.

    Example:
        >>> pairs_by_side(["liver", "kidney_L", "kidney_R"])
        [('kidney_L', 'kidney_R')]
    """
    by_lower = {name.lower(): name for name in names}
    opposites = {lower: SIDE.sub(lambda side: OPPOSITE[side.group()], lower) for lower in by_lower}
    return [
        (by_lower[lower], by_lower[other])
        for lower, other in sorted(opposites.items())
        if other in by_lower and lower < other
    ]
