"""What every section of a configuration has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Range = tuple[float, float]


class Section(BaseModel):
    """A frozen group of settings; a key that it does not know is an error, not a guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
