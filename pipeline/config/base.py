"""What every section of a configuration has in common."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat

N = TypeVar("N", int, float)


def _ordered(ends: tuple[N, N]) -> tuple[N, N]:
    if ends[0] > ends[1]:
        raise ValueError(f"a range goes from its lower to its higher end, found {list(ends)}")
    return ends


Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
NotNegative = Annotated[FiniteFloat, Field(ge=0)]
AboveZero = Annotated[FiniteFloat, Field(gt=0)]
Quality = Annotated[int, Field(ge=1, le=100)]
Range = Annotated[tuple[NotNegative, NotNegative], AfterValidator(_ordered)]
QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[AboveZero, AboveZero], AfterValidator(_ordered)]

ModelReference = Annotated[str, Field(json_schema_extra={"format": "model"})]
"""A folder, a .zip of one, ``runs:/ID/model`` or ``models:/NAME@ALIAS``."""


class Section(BaseModel):
    """A frozen group of settings; a key that it does not know is an error, not a guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a setting holds, also where it may be null; None where it is no section.

    Example:
        >>> section_in(Section | None) is Section, section_in(int | None)
        (True, None)
    """
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, BaseModel)), None)


def refuse(problems: Iterable[str]) -> None:
    """End a section's own validation; `validate` gives each problem a line of its own.

    Raises:
        ValueError: with a line for each problem, where there is one.
    """
    lines = "\n".join(problems)
    if lines:
        raise ValueError(lines)
