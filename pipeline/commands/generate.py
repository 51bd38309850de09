"""``medseg generate``: scans drawn from a variational autoencoder, marked as what they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.files import make_writable
from pipeline.formats import registry
from pipeline.geometry import upright_affine
from pipeline.inference.generation import Generator, Images
from pipeline.inference.reading import read_and_prepare
from pipeline.inference.single import only_scan
from pipeline.manifest import AutoencoderManifest
from pipeline.preprocessing.prepare import Prepared
from pipeline.report.plots import save_figure
from pipeline.report.reconstructions import gallery
from pipeline.scan import Scan

DESCRIPTIONS = {
    "synthetic_sample": "synthetic: drawn by medseg from an autoencoder, of no patient",
    "between": "made by medseg between two scans, whose reconstructions its ends are",
}
"""By the beginnings of the files' names."""
TITLES = {"synthetic_sample": "synthetic: no patient", "between": "from one scan to another"}
STEPS = 8
"""Images from one scan to another."""


@dataclass(frozen=True)
class Generated:
    """What was written.

    Attributes:
        scans: a file a scan and channel.
        pictures: of all of them.
    """

    scans: list[Path]
    pictures: list[Path]


def generate(
    generator: Generator, output: Path, *, samples: int, seed: int, between: tuple[Path, Path] | None = None
) -> Generated:
    """Write scans that never were, with normalised intensities, and pictures of them.

    Draws are called synthetic; what lies between two scans is not, because its ends are these scans. NIfTI files say in
    their description what they are.

    Args:
        generator: as `load_generator` makes it.
        output: a folder; files of the same names in it are replaced.
        samples: how many scans are drawn.
        seed: of the draws.
        between: two scans, from the first of which `STEPS` images lead to the second.

    Raises:
        DatasetError, ScanError: one of the two scans cannot be read.
        OutputError: nothing can be written to the folder.

    Example:
        >>> generator = load_generator(load_autoencoder(Path("runs/variational/model")))
        >>> written = generate(generator, Path("synthetic"), samples=16, seed=0)
    """
    make_writable(output)
    manifest = generator.embedder.manifest
    series = {"synthetic_sample": generator.draw(samples, seed)}
    if between is not None:
        first, last = (_prepared(path, manifest) for path in between)
        series["between"] = generator.between(first, last, STEPS)
    scans = [path for name, images in series.items() for path in _write(output / name, images, manifest)]
    pictures = [_draw(output / f"{name}.png", images, manifest) for name, images in series.items() if images]
    return Generated(scans, pictures)


def _prepared(path: Path, manifest: AutoencoderManifest) -> Prepared:
    with only_scan(path, manifest, manifest.inference) as entry:
        return read_and_prepare(entry, manifest.preprocessing).prepared


def _write(stem: Path, images: Images, manifest: AutoencoderManifest) -> list[Path]:
    fitted, paths = manifest.preprocessing, list[Path]()
    affine = upright_affine(fitted.prepared_spacing_mm, fitted.slice_axis)
    for number, image in enumerate(images, start=1):
        for channel, values in enumerate(_volumes(image)):
            scan = Scan(values[None], affine, Path(), fitted.unit)
            ending = (f"_{channel:04d}" if len(image) > 1 else "") + registry.map_ending(scan)
            path = stem.with_name(f"{stem.name}_{number:04d}{ending}")
            registry.write_map(path, values, scan, description=DESCRIPTIONS[stem.name])
            paths.append(path)
    return paths


def _volumes(image: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
    """Each channel as a volume; an image is a volume of one slice."""
    return [np.ascontiguousarray(each if each.ndim == 3 else each[..., None]) for each in image]


def _draw(path: Path, images: Images, manifest: AutoencoderManifest) -> Path:
    save_figure(gallery(images, manifest.bounds, title=TITLES[path.stem]), path)
    return path
