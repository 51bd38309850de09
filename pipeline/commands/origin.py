"""The model whose weights a run begins with (network.init_from)."""

import logging
from collections.abc import Mapping

import numpy as np
from torch import nn

from pipeline.commands.models import local_model
from pipeline.commands.run_folder import RunFolder
from pipeline.errors import DatasetError
from pipeline.files import write_text
from pipeline.manifest import AutoencoderManifest, Manifest, Part, read_any_manifest, write_manifest
from pipeline.model import TakenOver, initial_weights
from pipeline.preprocessing.fitted import ClipNormalisation, FittedPreprocessing

log = logging.getLogger(__name__)
CLOSE = 0.1
"""Of spacings and of bounds of intensities, as a share."""
Origin = Manifest | AutoencoderManifest
"""A trained U-Net or a pretrained autoencoder."""


def read_origin(source: str | None, folder: RunFolder) -> Origin | None:
    """The manifest of network.init_from; a copy is kept, so that a resumed run does not need the model any more."""
    if source is None:
        return None
    if not folder.origin.exists():
        with local_model(source) as model:
            write_manifest(folder.origin, read_any_manifest(model))
    return read_any_manifest(folder.origin)


def check_origin(origin: Origin, parts: Mapping[str, Part]) -> None:
    """Refuse to begin with weights that have seen what this run is validated or tested on.

    Args:
        origin: the model of network.init_from.
        parts: part of each case of this run by its content.

    Raises:
        DatasetError: says how many cases these are.
    """
    seen = [parts[case] for case in origin.trained_on if parts.get(case) in ("validation", "test")]
    if seen:
        raise DatasetError(
            "a model in network.init_from that has not learnt from cases which this run validates or tests on",
            f"one that has from {seen.count('validation')} to validate on and {seen.count('test')} kept for testing",
            "Take over its split as well (data.split.file, the split.json of its run), or begin with another model.",
        )


def learnt_by(origin: Origin | None) -> dict[str, Part]:
    """What the weights that a run begins with have learnt from, by content: it counts as trained on."""
    return dict.fromkeys(origin.trained_on, "train") if origin is not None else {}


def take_over(source: str, origin: Origin, network: nn.Module, *, folder: RunFolder) -> None:
    """Begin with the model's weights where names and shapes agree; the log and the run's folder say which."""
    with local_model(source) as model:
        taken = initial_weights(model, origin.weights_sha256, network)
    lines = describe_layers(taken)
    write_text(folder.taken_over, "\n".join(lines) + "\n")
    log.info("network.init_from: %d of %d tensors taken over from %s", len(taken.same), taken.total, source)
    for line in lines:
        log.info("network.init_from: %s", line)


def warn_of_other_preprocessing(origin: Origin, fitted: FittedPreprocessing) -> None:
    """Say where scans look otherwise to this network than they did to the one whose weights it begins with."""
    own, given = fitted, origin.preprocessing
    if _differ(own.spacing_mm, given.spacing_mm):
        log.warning(
            "network.init_from: that model saw a spacing of %s mm, this one %s", given.spacing_mm, own.spacing_mm
        )
    for place, (here, there) in enumerate(zip(own.channels, given.channels, strict=False)):
        bounds = [(each.low, each.high) if isinstance(each, ClipNormalisation) else None for each in (here, there)]
        if here.kind != there.kind or _differ(*bounds):
            log.warning("network.init_from: intensities of channel %d are normalised otherwise than there", place)


def _differ(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    """Whether numbers lie a tenth apart, or are there on one side alone."""
    if one is None or other is None:
        return one is not other
    return not np.allclose(one, other, rtol=CLOSE)


def describe_layers(taken: TakenOver) -> list[str]:
    """A line for each stage that was taken over whole, and for each other tensor why it was not.

    Example:
        >>> describe_layers(TakenOver(("encoder.0.conv.weight",), {"heads.0.weight": ((3, 8), (1, 8))}, ("up.bias",)))
        ['encoder.0: taken over', 'heads.0.weight: new, 3 x 8 and not 1 x 8', 'up.bias: new, not in the model']
    """
    lines: dict[str, None] = {}
    broken = {_stage(name) for name in (*taken.other_shape, *taken.new)}
    for name in taken.same:
        lines[f"{_stage(name) if _stage(name) not in broken else name}: taken over"] = None
    for name, (own, given) in taken.other_shape.items():
        lines[f"{name}: new, {_shape(own)} and not {_shape(given)}"] = None
    for name in taken.new:
        lines[f"{name}: new, not in the model"] = None
    return list(lines)


def _stage(name: str) -> str:
    """The part of the network that a tensor belongs to: ``encoder.0`` of ``encoder.0.blocks.0.0.weight``."""
    return ".".join(name.split(".")[:2])


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
