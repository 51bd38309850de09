"""``medseg score``: how good a folder of masks is. It needs no model, and so no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.evaluation import EvaluationConfig
from pipeline.evaluation.examples import choose_examples, draw_examples
from pipeline.evaluation.folders import labels_in, read_masks, score_folders
from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import cases_digest
from pipeline.evaluation.statistics import summarise
from pipeline.files import make_writable, writing_to
from pipeline.postprocessing.components import check_names
from pipeline.provenance import made_by


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        summary: the content of metrics.json.
        failed: how many cases failed.
        is_own: whether every case of the data set is one that the model's training knew, so that their names are too.
        run_id: of the evaluation in MLflow; None where it is not recorded, or no server has heard of it yet.
    """

    summary: dict[str, Any]
    failed: int
    is_own: bool = False
    run_id: str | None = None


def score(
    predictions: Path, references: Path, output: Path, *, labels: dict[str, int] | None, config: EvaluationConfig
) -> Evaluation:
    """Score a folder of masks against another, without a model.

    Args:
        predictions: masks named after their cases, or what `predict` wrote.
        references: masks named after their cases.
        output: folder for metrics.json, cases.csv, report.html and figures/.
        labels: name and value of each structure; by default the values found in either folder.
        config: settings of the metrics.

    Raises:
        ConfigError: a wall is no label.
        DatasetError: the folders hold no masks that go together.
        OutputError: ``output`` cannot be written to.
    """
    known = labels if labels is not None else labels_in(predictions, references)
    check_names("--wall", config.walls, known)
    make_writable(output)
    scored = score_folders(predictions, references, labels=known, config=config)
    summary = summarise(scored.scores, known, config, excluded_training_cases=0, failed=scored.failed)
    provenance = {
        "predictions": predictions.name,
        "references": references.name,
        "cases_digest": cases_digest(scored.reference_hashes),
        **made_by(),
    }
    examples = choose_examples(scored.scores)
    masks = read_masks(predictions, references, [example.case for example in examples])
    overlays = draw_examples(examples, masks, known)
    with writing_to(output):
        write_evaluation(output, scored.scores, summary=summary, provenance=provenance, overlays=overlays)
    return Evaluation(summary, len(scored.failed))
