"""``medseg summary``: the layers and costs of the network that a configuration describes."""

from dataclasses import dataclass

from pipeline.config.load import Config
from pipeline.errors import UserError
from pipeline.layouts.dataset import Dataset
from pipeline.layouts.discover import discover
from pipeline.networks.summary import Summary, summarise_unet
from pipeline.wording import count_of


@dataclass(frozen=True)
class DescribedNetwork:
    """A network's summary, and the channels and classes that it was made for, in words."""

    summary: Summary
    assumptions: str


def summarise(config: Config, *, channels: int | None, classes: int | None) -> DescribedNetwork:
    """Describe the network.

    Args:
        config: network, patch and batch; and the data set, which says what is not given.
        channels: of the scans; by default those of the data set or, where it cannot be found, 1.
        classes: the background included; by default those of the data set or, where it names no labels, 2.

    Raises:
        ConfigError: the patch does not fit a layer; the message names it.
    """
    dataset = _find(config) if channels is None or classes is None else None
    assumed = False
    if channels is None:
        channels, assumed = (len(dataset.modalities), False) if dataset is not None else (1, True)
    if classes is None:
        named = dataset is not None and dataset.declared
        classes, assumed = (1 + len(dataset.labels), assumed) if dataset is not None and named else (2, True)
    summary = summarise_unet(
        config.network,
        channels=channels,
        classes=classes,
        patch_size=config.training.patch_size,
        batch_size=config.training.batch_size,
    )
    note = "; the data set is not there or names no labels: --channels and --classes set others" if assumed else ""
    return DescribedNetwork(summary, f"{count_of(channels, 'channel')} and {classes} classes{note}")


def _find(config: Config) -> Dataset | None:
    try:
        return discover(config.data)
    except UserError:  # the network can be described without its data
        return None
