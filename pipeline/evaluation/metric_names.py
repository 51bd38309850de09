"""What metrics are called, in scores and in files."""

from pipeline.config.evaluation import EvaluationConfig
from pipeline.scan import Unit

METRICS = ("dice", "iou", "precision", "recall", "hd95", "asd", "nsd", "volume_error")
"""The metrics of every evaluation."""
INSTANCE_METRICS = (
    "rand_f",
    "rand_precision",
    "rand_recall",
    "vi_split",
    "vi_merge",
    "instance_f1",
    "instances_matched",
    "instances_missed",
    "instances_extra",
)
"""Those of `evaluation.instances`."""
CENTRELINE_METRICS = ("cl_dice",)
"""Those of `evaluation.centreline`."""
OPTIONAL_METRICS = (*INSTANCE_METRICS, *CENTRELINE_METRICS)
IN_FILES: dict[str, dict[Unit, str]] = {
    "hd95": {"mm": "hd95_mm", "px": "hd95_px"},
    "asd": {"mm": "asd_mm", "px": "asd_px"},
    "nsd_tolerance": {"mm": "nsd_tolerance_mm", "px": "nsd_tolerance_px"},
    "volume_error": {"mm": "volume_error_ml", "px": "volume_error_px"},
    "absolute_volume_error": {"mm": "absolute_volume_error_ml", "px": "absolute_volume_error_px"},
    "reference_size": {"mm": "reference_ml", "px": "reference_px"},
    "predicted_size": {"mm": "predicted_ml", "px": "predicted_px"},
}
"""What measures are called in files, which name the unit: mm and ml, or pixels of pictures, whose scale is unknown."""


def metrics_of(config: EvaluationConfig) -> tuple[str, ...]:
    """The metrics that an evaluation with these settings has."""
    instances = INSTANCE_METRICS if config.instances else ()
    return (*METRICS, *instances, *(CENTRELINE_METRICS if config.centreline else ()))


def name_in(unit: Unit, metric: str) -> str:
    """What a metric or measure is called in files.

    Example:
        >>> name_in("px", "hd95"), name_in("mm", "hd95"), name_in("px", "dice")
        ('hd95_px', 'hd95_mm', 'dice')
    """
    return IN_FILES[metric][unit] if metric in IN_FILES else metric
