"""Puts the newest records of docs/acceptance/ and docs/benchmarks/ into the tables and pictures that show them.

A table stands between the comments `<!-- measured: NAME -->` and `<!-- /measured -->` of a page.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.plots import COLUMN_MM, INCH_MM, plot_style, save_figure

ROOT = Path(__file__).resolve().parent.parent
DOCS, RECORDS, IMAGES = ROOT / "docs", ROOT / "docs" / "acceptance", ROOT / "docs" / "images"
BENCHMARKS = DOCS / "benchmarks"
BLOCKS = {"hippocampus": "hippocampus, {} test cases", "isbi2012": "membranes, {} slices"}
SCORES = ("histogram", "mahalanobis", "residual", "neighbours", "denoising", "variational", "combined")
PARTS = {"as_they_are": "as they are", "damaged": "damaged", "all": "all together"}
PICTURE_MM = 60.0
Row = Sequence[str]


def page(name: str) -> str:
    """A page of docs/ with the tables of the newest records in place of those that it has."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for block, rows in PAGES[name].items():
        start, end = f"<!-- measured: {block} -->\n", "<!-- /measured -->"
        assert text.count(start) == 1, f"{name}.md has a place for {block}"
        before, rest = text.split(start)
        assert end in rest, f"{name}.md has an end of {block}"
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows())
        text = f"{before}{start}\n{table}\n{end}{rest.partition(end)[2]}"
    return text


def newest(name: str, folder: Path = RECORDS) -> dict[str, Any]:
    """The newest record of a measurement."""
    records = sorted(folder.glob(f"????-??-??-{name}.json"))  # names begin with the date
    if not records:
        raise SystemExit(f"Expected a record *-{name}.json in {folder}; found none. Make the measurement.")
    found: dict[str, Any] = json.loads(records[-1].read_text(encoding="utf-8"))
    return found


def blocks() -> list[Row]:
    """What each kind of block is worth."""
    headings = (
        "data",
        "network",
        "Dice (95 % interval)",
        "against the first (95 % interval)",
        "parameters",
        "GFLOP a patch",
        "seconds",
    )
    rows = [
        [
            shown.format(measured["cases"]),
            network,
            f"{measured['mean_dice']:.3f} ({_intervals(measured)})",
            _difference(measured.get("against the first")),
            _grouped(measured["parameters"]),
            f"{measured['gflop']:.1f}",
            f"{measured['seconds']:.0f}",
        ]
        for name, shown in BLOCKS.items()
        for network, measured in newest(f"blocks-{name}")["results"].items()
    ]
    return [headings, _rule(headings), *rows]


def kinds() -> list[Row]:
    """What each kind of autoencoder gives back, beside what is known for as many numbers or as much noise."""
    headings = ("kind", "code", "error", "beside it")
    found = newest("autoencoders-kinds")
    under, sparse, noisy, drawn = (found[kind] for kind in ("undercomplete", "sparse", "denoising", "variational"))
    return [
        headings,
        _rule(headings),
        ["undercomplete", f"{_grouped(under['numbers'])} numbers", f"{under['mse']:.3f}", _others(under["pca"])],
        [
            "sparse",
            f"{_grouped(sparse['units'])} units, {_grouped(round(sparse['active_units']))} of them active",
            f"{sparse['mse']:.3f}",
            _others(sparse["pca"]),
        ],
        [
            "denoising",
            f"noise of deviation {noisy['noise']}",
            f"{noisy['mse']:.3f}",
            f"the noisy scan: {noisy['input_mse']:.3f}; " + _others(noisy["filters"]),
        ],
        [
            "variational",
            f"{drawn['units']} units, {drawn['active_units']} of them active; KL {drawn['kl']:.0f} nats, "
            f"{drawn['kl_per_unit'][-1]:.1f} to {drawn['kl_per_unit'][0]:.1f} a unit",
            f"{drawn['mse']:.3f}",
            f"distance between two samples {drawn['distance_between_samples']:.2f}, "
            f"between two scans {drawn['distance_between_scans']:.2f}",
        ],
    ]


def codes() -> list[Row]:
    """Error against the size of an undercomplete code."""
    headings = ("numbers of the code", "stages", "parameters", "error", "principal components of blocks")
    rows = [
        [_grouped(row["numbers"]), str(row["stages"]), _grouped(row["parameters"]), *_errors(row["mse"], row["pca"])]
        for row in sorted(newest("autoencoders-sweep")["codes"], key=lambda row: (row["numbers"], row["stages"]))
    ]
    return [headings, _rule(headings), *rows]


def restoration() -> list[Row]:
    """PSNR and SSIM of restored scans, beside the best of the classical methods."""
    headings = ("scan", "network: PSNR in dB, SSIM", "the best of the others: PSNR in dB", "SSIM")
    rows = []
    for level, found in newest("autoencoders-restoration")["levels"].items():
        network, others = found["network"], found["others"]
        psnr, ssim = (_best(others, metric) for metric in ("psnr", "ssim"))
        rows.append(
            [
                level,
                f"{network['psnr']:.1f}, {network['ssim']:.3f}",
                f"{others[psnr]['psnr']:.1f} ({psnr})",
                f"{others[ssim]['ssim']:.3f} ({ssim})",
            ]
        )
    return [headings, _rule(headings), *rows]


def starts() -> list[Row]:
    """Dice from pretrained weights and from scratch."""
    headings = ("training cases", "from scratch, by seed", "pretrained, by seed", "difference (95 % interval), p")
    rows = [
        [
            cases,
            *(_by_seed(found[start]) for start in ("scratch", "pretrained")),
            f"{_difference(found['difference'])}, {found['difference']['p']:.3f}",
        ]
        for cases, found in newest("starts")["training_cases"].items()
    ]
    return [headings, _rule(headings), *rows]


def gate() -> list[Row]:
    """AUROC of each score for each kind of scan that does not belong."""
    headings = ("what is to be found", "scans", *SCORES, "false alarms at 95 % detection")
    rows = [
        [
            f"{group}, {kind}" if kind != "all" else f"**{group}**",
            str(found["scans"]),
            *(f"{found[score]['auroc']:.3f}" for score in SCORES),
            f"{found['combined']['false_alarms_at_95_percent']:.0%}",
        ]
        for group, table in newest("gate-detection")["tables"].items()
        for kind, found in table.items()
    ]
    return [headings, _rule(headings), *rows]


def time_added() -> list[Row]:
    """What the gate and predicted Dice add to the time of a prediction."""
    headings = ("without `--tta`", "without them", "with them", "more")
    record = newest("gate-time")
    shown = {
        "predict": f"`medseg predict` of {record['scans']} scans",
        "masks_alone": "their masks, nothing read or written",
        "large_mask_alone": "one of 96 x 112 x 96 voxels, nothing read or written",
    }
    rows = [
        [name, *(f"{found[key]:.1f} s" for key in ("seconds_without", "seconds_with")), f"{found['share_added']:.0%}"]
        for part, name in shown.items()
        for found in (record[part],)
    ]
    return [headings, _rule(headings), *rows]


def estimate() -> list[Row]:
    """How far predicted Dice is from the Dice."""
    headings = (
        "masks",
        "",
        "mean absolute error",
        "of the mean",
        "of agreement alone",
        "rank correlation",
        "in the 90 % interval",
        "its width",
    )
    record = newest("estimate")
    rows = [
        [
            f"{found['masks']} of scans {PARTS[part]}",
            shown,
            f"{found['error']:.3f}",
            f"{found['error_of_the_mean']:.3f}",
            f"{found['error_of_agreement']:.3f}" if "error_of_agreement" in found else "",
            f"{found['correlation']:.2f}",
            f"{found['covered']:.1%}",
            f"{found['width']:.2f}",
        ]
        for part in PARTS
        for way, shown in (("single", "without `--tta`"), ("mirrored", "with `--tta`"))
        for found in (record[way][part],)
    ]
    return [headings, _rule(headings), *rows]


def folder_of_scans() -> list[Row]:
    """How long a folder takes, ours first."""
    headings = ("", "seconds", "times as long", "Dice")
    record = newest("folder", BENCHMARKS)
    shown = {
        "ours": "ours, `--no-tta`",
        "nnunet": "nnU-Net, `--disable_tta`",
        "ours_mirrored": "ours, `--tta`: mirrored along one axis",
        "nnunet_default": "nnU-Net, default: mirrored along three",
    }
    first = record["seconds"]["ours"]["median"]
    rows = [
        [
            name,
            f"{seconds:.1f}",
            f"{seconds / first:.1f}",
            "" if way == "nnunet_default" else f"{record['dice'][way]:.4f}",
        ]
        for way, name in shown.items()
        for seconds in (record["seconds"][way]["median"],)
    ]
    return [headings, _rule(headings), *rows]


def draw_codes(axes: Axes) -> list[int]:
    """Error against the size of the code; returns the sizes."""
    rows = sorted(newest("autoencoders-sweep")["codes"], key=lambda row: row["numbers"])
    components = {row["numbers"]: row["pca"] for row in rows}
    axes.plot(*zip(*components.items(), strict=True), marker=".", linestyle="--", label="components of blocks")
    for stages in sorted({row["stages"] for row in rows}, reverse=True):
        points = [(row["numbers"], row["mse"]) for row in rows if row["stages"] == stages]
        axes.plot(*zip(*points, strict=True), marker=".", label=f"network of {stages} stages")
    axes.set_xlabel("numbers of the code")
    axes.set_ylabel("error (mean square)")
    return list(components)


def draw_starts(axes: Axes) -> list[int]:
    """Dice against the number of training cases; returns these."""
    found = newest("starts")["training_cases"]
    cases = [int(each) for each in found]
    for start, shown in (("scratch", "from scratch"), ("pretrained", "pretrained")):
        seeds = [found[str(each)][start]["by_seed"] for each in cases]
        (line,) = axes.plot(cases, [sum(each) / len(each) for each in seeds], marker=".", label=shown)
        for place, each in zip(cases, seeds, strict=True):
            axes.plot([place] * len(each), each, linestyle="", marker="_", color=line.get_color())
    axes.set_xlabel("training cases with masks")
    axes.set_ylabel("Dice of unseen cases")
    return cases


def draw(name: str, drawn: Callable[[Axes], list[int]]) -> None:
    """A picture of docs/images, whose horizontal axis is a logarithm."""
    with plot_style():
        figure = Figure(figsize=(COLUMN_MM / INCH_MM, PICTURE_MM / INCH_MM), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        places = drawn(axes)
        axes.set_xticks(places, [str(place) for place in places])
        axes.minorticks_off()
        axes.legend()
    save_figure(figure, IMAGES / f"{name}.png")


def _best(found: dict[str, dict[str, float]], metric: str) -> str:
    """The method that has most of it."""
    return max(found, key=lambda name: found[name][metric])


def _rule(headings: Row) -> Row:
    return ["---"] * len(headings)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _others(found: dict[str, float]) -> str:
    return "; ".join(f"{name}: {error:.3f}" for name, error in found.items())


def _errors(*found: float) -> list[str]:
    return [f"{error:.3f}" for error in found]


def _by_seed(found: dict[str, Any]) -> str:
    return f"{found['mean_dice']:.3f} ({', '.join(f'{dice:.3f}' for dice in found['by_seed'])})"


def _intervals(measured: dict[str, Any]) -> str:
    """Each label's interval; its name only where there are several."""
    labels = measured["dice"]
    return "; ".join(
        (f"{label}: " if len(labels) > 1 else "") + "{:.3f} to {:.3f}".format(*dice["ci95"])
        for label, dice in labels.items()
    )


def _difference(tested: dict[str, Any] | None) -> str:
    if tested is None:
        return ""
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(tested["mean_difference"], *tested["ci95"])


PAGES: dict[str, dict[str, Callable[[], list[Row]]]] = {
    "blocks": {"blocks": blocks},
    "autoencoders": {"kinds": kinds, "codes": codes, "restoration": restoration, "starts": starts},
    "predicting": {"gate": gate, "time": time_added, "estimate": estimate},
    "benchmarks": {"folder": folder_of_scans},
}
PICTURES = {"code_sizes": draw_codes, "starts": draw_starts}


if __name__ == "__main__":
    for each in PAGES:
        (DOCS / f"{each}.md").write_text(page(each), encoding="utf-8")
    for each, drawn in PICTURES.items():
        draw(each, drawn)
