"""From a scan to its mask, with a model and nothing else."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ModelError
from pipeline.inference.backends.backend import Backend, Observe
from pipeline.inference.backends.background import BackgroundOnce
from pipeline.inference.backends.choice import choose_backend
from pipeline.inference.backends.conversion import ConversionRequest
from pipeline.inference.estimate import FittedEstimates, Observed
from pipeline.inference.evidence import Agreement, Observer, Tally
from pipeline.inference.features import EncoderFeatures
from pipeline.inference.footprint import check_fits
from pipeline.inference.gate import EncodedScan, FittedGate, encode_all
from pipeline.inference.memory import available_bytes
from pipeline.inference.precision import compute_for
from pipeline.inference.reading import read_and_prepare
from pipeline.inference.segmentation import Segmentation
from pipeline.inference.single import only_scan
from pipeline.inference.sliding_window import Block, Network, mirrored, slide, sliding_window
from pipeline.inference.windows import nesting
from pipeline.manifest import Manifest
from pipeline.model import Model, load_model
from pipeline.postprocessing.components import check_keep_largest, check_names, keep_largest
from pipeline.postprocessing.instances import check_watershed
from pipeline.preprocessing.labels import to_values
from pipeline.preprocessing.prepare import Prepared, prepare, restore, restore_blocks, restore_probabilities
from pipeline.quality.temperature import soften
from pipeline.scan import Scan
from pipeline.sizes import as_window


@dataclass(frozen=True, eq=False)
class Masked:
    """A mask, and what was seen on the way to it, which `Predictor.judge` takes.

    Attributes:
        mask: label values (I, J, K), on the scan's own grid.
        probabilities: as `Segmentation` has them.
        prepared: the scan.
        features: what the encoder made of it; None of a model with neither gate nor predicted Dice.
        observer: what passed of its probabilities; None of a model without predicted Dice.
    """

    mask: NDArray[np.unsignedinteger]
    probabilities: NDArray[np.float32] | None
    prepared: Prepared
    features: EncoderFeatures | None
    observer: Observer | None


class Predictor:
    """A model made ready to run.

    Args:
        model: network, weights and everything that belongs to them.
        config: overlap, mirroring, device, backend, precision, threads.

    Raises:
        ConfigError: a device, a backend or a number format that this machine does not have, or a name that is no label.
    """

    def __init__(self, model: Model, config: InferenceConfig) -> None:
        self.manifest: Manifest = model.manifest
        self.config = config
        check_keep_largest(config.keep_largest, self.manifest.labels)
        check_watershed(config, self.manifest.labels)
        check_names("inference.instance_files", config.instance_files, self.manifest.labels)
        self.compute = compute_for(config, model.manifest.provenance.precision)
        channels, dimensions = len(self.manifest.modalities), self.manifest.network.dimensions
        self.compute.place_network(model.network, dimensions)
        request = ConversionRequest(
            network=model.manifest.network,
            channels=channels,
            classes=1 + len(self.manifest.labels),
            patch_size=self.manifest.patch_size,
            precision=self.compute.precision,
            threads=torch.get_num_threads(),
        )
        chosen = choose_backend(model.network, config, compute=self.compute, request=request)
        self.backend: Backend = BackgroundOnce(chosen)
        self.gate = FittedGate.from_arrays(model.gate, channels=channels, dimensions=dimensions) if model.gate else None
        self.estimates: FittedEstimates | None = None
        if model.estimate:
            labels = len(self.manifest.labels)
            self.estimates = FittedEstimates.from_arrays(
                model.estimate, labels=labels, channels=channels, dimensions=dimensions
            )

    @property
    def predicts_dice(self) -> bool:
        """Whether masks get a predicted Dice; with mirroring, only where the model was fitted to mirrored ones too."""
        if self.estimates is None:
            return False
        return self.estimates.mirrored is not None or not (self.config.tta and self.manifest.mirror_axes)

    @classmethod
    def load(cls, folder: Path, config: InferenceConfig | None = None) -> "Predictor":
        """The model of a folder.

        Args:
            folder: as training writes it.
            config: as for the class; by default the model's own.

        Raises:
            ModelError: there is no model, or a damaged one.
            ConfigError: as for the class.

        Example:
            >>> predictor = Predictor.load(Path("runs/demo/1/model"))
            >>> mask = predictor.predict(Path("scan.nii.gz"))
        """
        model = load_model(folder)
        return cls(model, config or model.manifest.inference)

    def predict(self, source: Path | Scan) -> NDArray[np.unsignedinteger]:
        """Label values (I, J, K) on the scan's own grid.

        Args:
            source: a scan, or where one lies: see `only_scan`. Its voxels are read in this process, without the limits
                of time and memory that `medseg predict` sets.

        Raises:
            DatasetError: the path stands for no scan, or for several.
            ScanError: the scan cannot be read, has another number of channels than the model, or needs more memory
                than is free.
            ModelError: the network's output is not finite.
        """
        return self.predict_prepared(self._prepared(source))

    def examine(self, source: Path | Scan) -> Segmentation:
        """As `predict`, with what the scan gate says, predicted Dice, and probabilities where they are asked for.

        Example:
            >>> found = predictor.examine(Path("scan.nii.gz"))
            >>> found.gate and found.gate.reason  # None of a model without a gate
            ''
        """
        return self.segment(self._prepared(source))

    def _prepared(self, source: Path | Scan) -> Prepared:
        if isinstance(source, Scan):
            return prepare(source, self.manifest.preprocessing)
        with only_scan(source, self.manifest, self.config) as entry:
            return read_and_prepare(entry, self.manifest.preprocessing).prepared

    def predict_prepared(self, prepared: Prepared) -> NDArray[np.unsignedinteger]:
        """The same for a scan that `prepare` has been run on, for instance in another process.

        Raises:
            ScanError: it needs more memory than is free.
            ModelError: the network's output is not finite.
        """
        return self._streamed(prepared)

    def segment(self, prepared: Prepared) -> Segmentation:
        """As `predict_prepared`, with what the gate says, predicted Dice, and probabilities where they are asked for.

        Raises:
            ScanError: it needs more memory than is free.
            ModelError: the network's output, or what the gate makes of the scan, is not finite.
        """
        return self.judge(self.mask(prepared))

    def mask(self, prepared: Prepared) -> Masked:
        """The first half of `segment`: the network's work.

        Raises:
            ScanError: the scan needs more memory than is free.
            ModelError: the network's output is not finite.
        """
        features = None if self.gate is None and self.estimates is None else EncoderFeatures()
        observer = None if self.estimates is None else self._observer(prepared)
        if self.config.probability_maps:
            mask, probabilities = self._mapped(prepared, features, observer)
        else:
            mask, probabilities = self._streamed(prepared, features, observer), None
        return Masked(mask, probabilities, prepared, features, observer)

    def judge(self, masked: Masked) -> Segmentation:
        """The second half: what gate and predicted Dice say. Another thread may do it while the network runs on.

        Raises:
            ModelError: what the gate makes of the scan is not finite.
        """
        found = Segmentation(masked.mask, masked.probabilities)
        if masked.features is None:
            return found
        encoded = EncodedScan(masked.prepared.image, masked.features)
        if self.gate is not None:
            found = replace(found, gate=self.gate.judge(encoded))
        if self.estimates is None or masked.observer is None:
            return found
        observed, names = Observed(self._tally(masked.observer), encoded), tuple(self.manifest.labels)
        return replace(found, estimates=self.estimates.judge(observed, masked.prepared, names))

    def observe(self, prepared: Prepared) -> tuple[NDArray[np.unsignedinteger], Observed]:
        """As `predict_prepared`, with what predicted Dice is fitted to.

        Raises:
            ScanError: it needs more memory than is free.
            ModelError: the network's output, or what is made of the scan, is not finite.
        """
        features, observer = EncoderFeatures(), self._observer(prepared)
        mask = self._streamed(prepared, features, observer)
        return mask, Observed(self._tally(observer), EncodedScan(prepared.image, features))

    def probabilities(self, prepared: Prepared) -> NDArray[np.floating]:
        """Of each class (1 + labels, I, J, K), on the prepared grid, as the network gives them.

        Raises:
            ScanError: it needs more memory than is free.
            ModelError: the network's output is not finite.
        """
        config = self.config.model_copy(update={"probability_maps": True})
        check_fits(prepared.trail, self.manifest, config, free_bytes=available_bytes())
        return _checked(self._scores(prepared, None, None))

    def gate_scores(self, prepared: Prepared) -> NDArray[np.float64]:
        """The gate's raw scores of a scan (S,), without a mask.

        Raises:
            ScanError: it needs more memory than is free.
            ModelError: what the gate makes of the scan is not finite.
        """
        assert self.gate is not None
        check_fits(prepared.trail, self.manifest, self.config, free_bytes=available_bytes())
        image, patch_size = prepared.image, self.manifest.patch_size
        encoded = encode_all(self.backend, image, patch_size, overlap=self.config.overlap)
        return self.gate.scores(encoded)[0]

    def _observer(self, prepared: Prepared) -> Observer:
        axes = self.manifest.mirror_axes
        agreement = Agreement(1 + len(self.manifest.labels), 2 ** len(axes)) if self.config.tta and axes else None
        return Observer(prepared.trail.shape, agreement)

    def _tally(self, observer: Observer) -> Tally:
        """What an observer has seen, of the parts that are kept."""
        tally, names = observer.tally(), list(self.manifest.labels)
        for name in self.config.keep_largest:
            tally = replace(tally, classes=keep_largest(tally.classes, 1 + names.index(name)))
        return tally

    def _streamed(
        self, prepared: Prepared, features: EncoderFeatures | None = None, observer: Observer | None = None
    ) -> NDArray[np.unsignedinteger]:
        config = self.config.model_copy(update={"probability_maps": False})
        check_fits(prepared.trail, self.manifest, config, free_bytes=available_bytes())
        image, window = torch.from_numpy(prepared.image), as_window(self.manifest.patch_size)
        with torch.inference_mode():
            blocks = slide(self._network(features, observer), image, window, overlap=self.config.overlap)
            seen = blocks if observer is None else observer.passing(blocks)
            checked = ((block.box, _checked(block.scores)) for block in seen)
            classes = restore_blocks(checked, prepared.trail, order=nesting(prepared.trail.shape, window))
        return self._mask(classes)

    def _mapped(
        self, prepared: Prepared, features: EncoderFeatures | None, observer: Observer | None
    ) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32]]:
        check_fits(prepared.trail, self.manifest, self.config, free_bytes=available_bytes())
        whole = self._scores(prepared, features, observer)
        scores = _checked(whole)
        if observer is not None:
            observer.count(Block(tuple(slice(0, n) for n in prepared.trail.shape), whole))
        mask, probabilities = self._mask(restore(scores, prepared.trail)), restore_probabilities(scores, prepared.trail)
        if self.manifest.temperature is not None:
            soften(probabilities, self.manifest.temperature)
        return mask, probabilities

    def _scores(self, prepared: Prepared, features: EncoderFeatures | None, observer: Observer | None) -> Tensor:
        """Probabilities on the prepared grid."""
        image, window = torch.from_numpy(prepared.image), as_window(self.manifest.patch_size)
        with torch.inference_mode():
            return sliding_window(self._network(features, observer), image, window, overlap=self.config.overlap)

    def _mask(self, classes: NDArray[np.uint8]) -> NDArray[np.unsignedinteger]:
        mask = to_values(classes, self.manifest.label_values)
        for name in self.config.keep_largest:
            mask = keep_largest(mask, self.manifest.labels[name])
        return mask

    def _network(self, features: EncoderFeatures | None, observer: Observer | None) -> Network:
        dimensions = self.manifest.network.dimensions
        seen = None if features is None else features.see
        first = network_function(self.backend, dimensions, observe=seen)
        if not self.config.tta:
            return first
        plain = network_function(self.backend, dimensions)
        each = None if observer is None or observer.agreement is None else observer.agreement.see
        return mirrored(plain, self.manifest.mirror_axes, first=first, each=each)


def network_function(backend: Backend, dimensions: int, *, observe: Observe | None = None) -> Network:
    """The network's finest logits as a function of a batch on the CPU; one of images sees windows of one slice.

    Args:
        backend: runs the network.
        dimensions: of the network.
        observe: is given what the encoder makes of each batch.
    """

    def run(batch: Tensor) -> Tensor:
        return backend.logits(batch, observe)

    def run_slice(batch: Tensor) -> Tensor:
        return run(batch.squeeze(-1)).unsqueeze(-1)

    return run_slice if dimensions == 2 else run


def _checked(probabilities: Tensor) -> NDArray[np.floating]:
    if not torch.isfinite(probabilities.sum()):  # it is not where any of them is not
        raise ModelError(
            "probabilities from the network",
            "values that are not finite",
            "Use --device cpu or inference.precision=fp32.",
        )
    return np.asarray(probabilities.numpy())
