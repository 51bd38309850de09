"""Windows that hold one value: what a network makes of them is worked out once. Tensors are 1 C D H W, or 1 C H W.

Air outside the body, once it was cut off at the fitted range, and what was masked away are the same value everywhere,
and fill a good part of the windows of a large scan. A network's output depends on nothing but its input, so that what
it made of such a window is what it makes of the next one.
"""

from dataclasses import dataclass

from torch import Tensor

from pipeline.inference.backends.backend import Backend, Observe
from pipeline.inference.features import thinned
from pipeline.inference.windows import KEPT_BYTES

FLOAT_BYTES = 4
SAMPLE_STEP = 8
"""Along each axis, between the voxels that are looked at first, which tell most windows from those of one value."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a network made of a window of one value.

    Attributes:
        values: the value of each channel.
        logits: of the window.
        features: of the encoder's stages, thinned.
    """

    values: tuple[float, ...]
    logits: Tensor
    features: list[Tensor]

    @property
    def bytes(self) -> int:
        """What it takes, in 32 bits."""
        return FLOAT_BYTES * sum(each.numel() for each in (self.logits, *self.features))


class BackgroundOnce:
    """A backend that runs a window of one value once, and gives the same again while the value stays the same.

    Args:
        backend: runs all other windows.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._seen: _Seen | None = None

    @property
    def name(self) -> str:
        """As the interface says; that of the backend which runs the network."""
        return self._backend.name

    def logits(self, window: Tensor, observe: Observe | None = None) -> Tensor:
        """As the interface says; of a window of one value, thinned features are observed."""
        values = uniform_values(window)
        if values is None:
            return self._backend.logits(window, observe)
        seen = self._seen
        if seen is None or seen.values != values:
            features = list[Tensor]()
            logits = self._backend.logits(window, features.extend)
            seen = _Seen(values, logits, [thinned(stage).clone() for stage in features])
            if seen.bytes > KEPT_BYTES:
                if observe is not None:
                    observe(seen.features)
                return logits
            self._seen = seen
        if observe is not None:
            observe(seen.features)
        return seen.logits.clone()  # it will be written over

    def features(self, window: Tensor) -> list[Tensor]:
        """As the interface says."""
        return self._backend.features(window)


def uniform_values(window: Tensor) -> tuple[float, ...] | None:
    """The value of each channel of a window that has one value a channel, or None."""
    image, axes = window[0], window.ndim - 2
    first = image[(slice(None), *[slice(1)] * axes)]
    sample = image[(slice(None), *[slice(None, None, SAMPLE_STEP)] * axes)]
    if (sample != first).any() or (image != first).any():  # a NaN differs from itself
        return None
    return tuple(first.flatten().tolist())
