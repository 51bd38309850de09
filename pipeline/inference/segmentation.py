"""What a model makes of a scan."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a model makes of a scan, on the scan's own grid.

    Attributes:
        mask: label values (I, J, K).
        probabilities: of the background and each label (1 + labels, I, J, K), in the order of the manifest, as
            the network gives them: what is done to the mask afterwards is not in them. None where not asked for.
    """

    mask: NDArray[np.unsignedinteger]
    probabilities: NDArray[np.float32] | None = None
