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
        channels: of the scans; by default as the configuration says or else the data set; 1 where neither does.
        classes: the background included; by default in the same way; 2 where neither names labels.

    Raises:
        ConfigError: the patch does not fit a layer; the message names it.
    """
    labels, modalities = config.data.labels, config.data.modalities
    if (channels is None and modalities is None) or (classes is None and labels is None):
        dataset = _find(config)
        modalities = modalities or (dataset.modalities if dataset is not None else None)
        labels = labels or (dataset.labels if dataset is not None else None)
    assumed = (channels is None and not modalities) or (classes is None and not labels)
    channels = channels or (len(modalities) if modalities else 1)
    classes = classes or 1 + (len(labels) if labels else 1)
    summary = summarise_unet(
        config.network,
        channels=channels,
        classes=classes,
        patch_size=config.training.patch_size,
        batch_size=config.training.batch_size,
    )
    note = f"; {config.data.root} does not tell, so set others by --channels and --classes" if assumed else ""
    return DescribedNetwork(summary, f"{count_of(channels, 'channel')} and {classes} classes{note}")


def _find(config: Config) -> Dataset | None:
    try:
        return discover(config.data)
    except UserError:  # the network can be described without its data
        return None
