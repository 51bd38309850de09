"""What must be true of `medseg predict` over folders; each check writes a dated JSON file under docs/acceptance/.

folder     a folder as a clinic has it: good scans, damaged ones, scans of one name, other files, DICOM of another part
kills      twenty runs killed with -9 at random moments and given again, against one that nobody touched
dicom      DICOM series: segmentations against masks in NIfTI, and the same series converted beforehand
memory     what the process holds after each of fifty cases
pages      two hundred cases of 512 x 512 x 300 voxels: sizes of the pages, and how long a browser takes to open them

    python scripts/check_batch.py [--model MODEL] [--data FOLDER] [folder] [kills] [dicom] [memory] [pages]

MODEL is one of the hippocampus; without it, configs/hippocampus.yaml is trained for ten minutes. Pages are made with a
network of a few weights, since they do not depend on what it finds.
"""

import argparse
import csv
import datetime
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import psutil
import SimpleITK
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from pipeline.config.network import NetworkConfig
from pipeline.files import write_json
from pipeline.manifest import read_manifest
from pipeline.model import save_model
from pipeline.networks.unet import UNet
from pipeline.provenance import code_commit

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "acceptance"
GOOD, KILLS, CASES, LARGE_CASES = 20, 20, 50, 200
CROPS = ("Study1/13_HCropVolume", "Study2/14_HCropVolume", "Study3/11_HCropVolume")
WHOLE_BRAINS = ("11-T1post-18670", "26401-T1prereg-52906", "36468-FLAIRreg-58706", "37830-T2reg-78532")
GROWTH, SETTLED = 0.05, 5
"""Share by which the memory may grow after so many cases."""
TABLE_MB, PAGE_MB, OPEN_SECONDS = 10, 8, 3.0
VOLATILE = {"manifest.json", "cases.csv", "status.json", "medseg.log", "report.html"}
"""What names times or seconds, and so differs between any two runs."""


@dataclass(frozen=True)
class Place:
    """What a check works with: an empty folder, the model, the real data sets."""

    folder: Path
    model: Path
    data: Path


def predict(place: Place, source: Path, output: Path, *settings: str) -> subprocess.Popen[str]:
    """Start `medseg predict`."""
    command = [sys.executable, "-m", "pipeline", "predict", str(place.model), str(source), str(output), *settings]
    return subprocess.Popen(
        command, cwd=place.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def table(output: Path) -> list[dict[str, str]]:
    """The rows of cases.csv."""
    with (output / "cases.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def scans(place: Place) -> list[Path]:
    """Real scans of the hippocampus."""
    return sorted((place.data / "hippocampus" / "imagesTr").glob("[!.]*.nii.gz"))


def load(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values of a NIfTI file, and where they lie (RAS, mm)."""
    image = nibabel.load(path)
    assert isinstance(image, Nifti1Image)
    return np.asarray(image.dataobj), np.asarray(image.affine)


def check_folder(place: Place) -> dict[str, Any]:
    """Predict a folder as it really comes, twice."""
    source, output = place.folder / "in", place.folder / "out"
    good = make_folder(place, source)
    first = predict(place, source, output)
    printed, _ = first.communicate()
    rows = {row["case"]: row for row in table(output)}
    before = hashes(output)
    again = predict(place, source, output)
    printed_again, _ = again.communicate()
    second = table(output)
    return {
        "rows": [{name: row[name] for name in ("case", "status", "action", "reason")} for row in rows.values()],
        "codes": [first.returncode, again.returncode],
        "printed": [printed.splitlines()[-1], printed_again.splitlines()[-1]],
        "second_actions": Counter(row["action"] for row in second),
        "reached": [first.returncode, again.returncode] == [3, 3]
        and all(rows[case]["status"] in {"ok", "review"} and mask_of(output, case) is not None for case in good)
        and all(rows[case]["status"] == "failed" and mask_of(output, case) is None for case in ("cut_off", "all_nan"))
        and rows["letter.txt"]["status"] == "skipped"
        and len(rows) == len(good) + 4
        and all(row["action"] != "done" for row in second)
        and hashes(output) == before,
    }


def make_folder(place: Place, source: Path) -> list[str]:
    """Fill a folder; returns the names of the cases that have to get masks."""
    good = scans(place)[: GOOD + 2]
    names = [path.name.removesuffix(".nii.gz") for path in good[:GOOD]]
    for path in good[:GOOD]:
        copy(path, source / path.name)
    for folder, path in zip(("monday", "tuesday"), good[GOOD:], strict=True):
        copy(path, source / folder / "scan.nii.gz")
    content = good[0].read_bytes()
    (source / "cut_off.nii.gz").write_bytes(content[: len(content) // 2])
    image = Nifti1Image(np.full((20, 20, 20), np.nan, np.float32), np.eye(4))
    image.to_filename(source / "all_nan.nii.gz")
    (source / "letter.txt").write_text("Dear colleague")
    for path in sorted((place.data / "dicom" / "Study3" / WHOLE_BRAINS[0]).iterdir()):
        copy(path, source / "export" / path.name)
    return [*names, "monday__scan", "tuesday__scan"]


def copy(path: Path, target: Path) -> None:
    """Copy a file into a folder that is made where it is missing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def mask_of(output: Path, case: str) -> Path | None:
    """The mask of a case, where it has one."""
    path = output / case / "mask.nii.gz"
    return path if path.exists() else None


def hashes(output: Path) -> dict[str, str]:
    """Of every file that should be the same whenever it is made."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in VOLATILE
    }


def check_kills(place: Place) -> dict[str, Any]:
    """Kill a run at random moments between its start and its end, and give it again each time."""
    source = place.folder / "in"
    for path in scans(place)[:GOOD]:
        copy(path, source / path.name)
    started = time.monotonic()
    undisturbed = predict(place, source, place.folder / "undisturbed")
    wait_for_work(undisturbed, place.folder / "undisturbed")
    begun_seconds = time.monotonic() - started
    undisturbed.communicate()
    whole_seconds, expected = time.monotonic() - started, hashes(place.folder / "undisturbed")
    chance, differing, moments = random.Random(0), list[str](), list[dict[str, Any]]()
    for number in range(KILLS):
        output, process = place.folder / f"killed_{number}", predict(place, source, place.folder / f"killed_{number}")
        if number % 4:  # most come while cases are done, the others at any time
            wait_for_work(process, output)
        moments.append(kill(process, output, chance.uniform(0, whole_seconds - (begun_seconds if number % 4 else 0))))
        last = predict(place, source, output)
        last.communicate()
        if last.returncode != 0 or hashes(output) != expected or list(output.rglob(".*")):
            differing.append(output.name)
        print(f"kill {number + 1}: {moments[-1]}", flush=True)
        shutil.rmtree(output)
    return {
        "seconds_undisturbed": [round(begun_seconds, 1), round(whole_seconds, 1)],
        "kills": moments,
        "files": len(expected),
        "differing": differing,
        "reached": not differing and len({each["cases_finished"] for each in moments}) > 5,
    }


def wait_for_work(process: subprocess.Popen[str], output: Path) -> None:
    """Wait until a command has begun to work on its output, or has ended."""
    while process.poll() is None and not (output / ".medseg").exists():
        time.sleep(0.01)


def kill(process: subprocess.Popen[str], output: Path, seconds: float) -> dict[str, Any]:
    """Send SIGKILL after so many seconds; says what there was by then."""
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return {
        "after_seconds": round(seconds, 2),
        "code": process.returncode,
        "cases_finished": len(list(output.glob("*/statistics.json"))),
        "half_written": len(list(output.rglob(".partial-*"))),
    }


def check_dicom(place: Place) -> dict[str, Any]:
    """Predict DICOM series, read the segmentations back, and predict the same series converted to NIfTI."""
    found = {}
    for crop in CROPS:
        source, name = place.data / "dicom" / crop, crop.split("/")[0]
        finish(predict(place, source, place.folder / name))
        (folder,) = (path for path in (place.folder / name).iterdir() if path.is_dir())
        converted = convert(source, place.folder / f"{name}.nii.gz")
        finish(predict(place, converted, place.folder / f"{name}_converted"))
        (other,) = (place.folder / f"{name}_converted").glob("*/mask.nii.gz")
        found[name] = compare(folder, other)
    spacings = {}
    for series in WHOLE_BRAINS:
        finish(predict(place, place.data / "dicom" / "Study3" / series, place.folder / series))
        (mask,) = (place.folder / series).glob("*/mask.nii.gz")
        spacings[series] = [round(float(mm), 3) for mm in np.linalg.norm(load(mask)[1][:3, :3], axis=0)]
    whole = all(
        each["voxels"] and not each["different_in_seg"] + each["different_converted"] for each in found.values()
    )
    return {
        "crops": found,
        "spacings_mm": spacings,
        "reached": whole and all(spacing[2] == 6.5 for spacing in spacings.values()),
    }


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a command that has to succeed.

    Raises:
        RuntimeError: it failed.
    """
    printed, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(printed)


def convert(source: Path, target: Path) -> Path:
    """A series as NIfTI, by SimpleITK."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
    SimpleITK.WriteImage(reader.Execute(), str(target))
    return target


def compare(folder: Path, converted: Path) -> dict[str, int]:
    """Voxels in which the masks of a case differ; each is looked up where it lies in the patient."""
    mask = load(folder / "mask.nii.gz")
    volume = highdicom.seg.segread(folder / "mask.dcm").get_volume(combine_segments=True, skip_overlap_checks=True)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return {
        "voxels": int(np.count_nonzero(mask[0])),
        "different_in_seg": differing(mask, (np.asarray(volume.array), to_ras @ volume.affine)),
        "different_converted": differing(mask, load(converted)),
    }


def differing(mask: tuple[NDArray[Any], NDArray[Any]], other: tuple[NDArray[Any], NDArray[Any]]) -> int:
    """Voxels of a mask whose place in the patient has another value in the other mask."""
    indices = np.argwhere(np.ones(mask[0].shape, bool))
    places = np.c_[indices, np.ones(len(indices))] @ mask[1].T
    there = np.rint(places @ np.linalg.inv(other[1]).T)[:, :3].astype(int)
    inside = ((there >= 0) & (there < other[0].shape)).all(1)
    values = np.zeros(len(indices), other[0].dtype)
    values[inside] = other[0][tuple(there[inside].T)]
    return int(np.count_nonzero(values != mask[0].reshape(-1)))


def check_memory(place: Place) -> dict[str, Any]:
    """Predict fifty copies of a scan, and look at the memory of the main process as cases are finished."""
    source, output = place.folder / "in", place.folder / "out"
    for number in range(CASES):
        copy(scans(place)[0], source / f"{number:02}.nii.gz")
    process = predict(place, source, output)
    watched, held = psutil.Process(process.pid), dict[int, int]()
    while process.poll() is None:
        count = len(list(output.glob("*/statistics.json")))
        try:
            held[count] = max(held.get(count, 0), watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    process.communicate()
    after = {count: bytes_held for count, bytes_held in held.items() if count >= SETTLED}
    growth = max(after.values()) / after[min(after)] - 1
    return {
        "cases": len(table(output)),
        "megabytes_after": {count: round(each / 1e6) for count, each in sorted(held.items())},
        "growth_after_the_fifth": round(growth, 4),
        "reached": process.returncode == 0 and growth < GROWTH,
    }


def check_pages(place: Place) -> dict[str, Any]:
    """Predict many large scans, and open their pages in a browser."""
    source, output = place.folder / "in", place.folder / "out"
    make_large_scans(source)
    started = time.monotonic()
    process = predict(replace(place, model=tiny_model(place)), source, output, "inference.overlap=0")
    printed, _ = process.communicate()
    seconds = time.monotonic() - started
    pages = [path.stat().st_size for path in output.glob("*/viewer.html")]
    with browser() as opened:
        table_seconds = opened(output / "report.html")
        page_seconds = [opened(path) for path in sorted(output.glob("*/viewer.html"))[:5]]
    table_bytes = (output / "report.html").stat().st_size
    return {
        "cases": len(pages),
        "seconds_a_case": round(seconds / LARGE_CASES, 1),
        "printed": printed.splitlines()[-1],
        "worklist_megabytes": round(table_bytes / 1e6, 3),
        "worklist_seconds": table_seconds,
        "largest_page_megabytes": round(max(pages) / 1e6, 3),
        "page_seconds": page_seconds,
        "reached": len(pages) == LARGE_CASES
        and table_bytes < TABLE_MB * 1e6
        and max(pages) < PAGE_MB * 1e6
        and table_seconds < OPEN_SECONDS,
    }


def tiny_model(place: Place) -> Path:
    """A model that takes no time: convolutions of single voxels, at the scan's own spacing."""
    manifest, point = read_manifest(place.model), (1, 1, 1)
    network = NetworkConfig(
        features=(1, 1),
        kernels=(point, point),
        strides=(point, point),
        encoder_convolutions=(1, 1),
        decoder_convolutions=(1,),
        norm="none",
        activation="relu",
        deep_supervision=0,
    )
    preprocessing = manifest.preprocessing.model_copy(update={"spacing_mm": None})
    changes = {"network": network, "preprocessing": preprocessing, "patch_size": (128, 128, 128)}
    folder = place.folder / "tiny"
    save_model(folder, UNet(network, 1, 1 + len(manifest.labels)).state_dict(), manifest.model_copy(update=changes))
    return folder


def train_model(folder: Path, data: Path) -> Path:
    """A model of the hippocampus, in ten minutes."""
    settings = [f"data.root={data / 'hippocampus'}", "training.max_minutes=10", "-o", str(folder / "run")]
    command = [sys.executable, "-m", "pipeline", "train", str(ROOT / "configs" / "hippocampus.yaml"), *settings]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "run" / "model"


def make_large_scans(source: Path) -> None:
    """Scans of blurred noise with a bright block, five of them under two hundred names."""
    chance = np.random.default_rng(0)
    source.mkdir(parents=True)
    for number in range(LARGE_CASES):
        path = source / f"{number:03}.nii.gz"
        if number < 5:
            small = chance.normal(100, 20, (128, 128, 75)).astype(np.float32)
            array = np.asarray(small.repeat(4, 0).repeat(4, 1).repeat(4, 2) + chance.normal(0, 10, (512, 512, 300)))
            array[200 + 10 * number : 240 + 10 * number, 200:230, 100:130] += 200
            with gzip.open(path, "wb", compresslevel=1) as stream:
                stream.write(Nifti1Image(array.astype(np.int16), np.diag([0.8, 0.8, 1.0, 1.0])).to_bytes())
        else:
            os.link(source / f"{number % 5:03}.nii.gz", path)


@contextmanager
def browser() -> Iterator[Callable[[Path], float]]:
    """A function that opens a page in a browser without a window, and says how many seconds that took."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        def opened(path: Path) -> float:
            page = chromium.new_page()
            started = time.monotonic()
            page.goto(path.resolve().as_uri(), wait_until="load")
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            seconds = time.monotonic() - started
            page.close()
            return round(seconds, 2)

        yield opened
        chromium.close()


CHECKS: dict[str, Callable[[Place], dict[str, Any]]] = {
    "folder": check_folder,
    "kills": check_kills,
    "dicom": check_dicom,
    "memory": check_memory,
    "pages": check_pages,
}


def make_checks(names: Sequence[str], model: Path, data: Path, *, records: Path) -> int:
    """Make some checks, and write what they find; 1 where one of them does not hold."""
    held, commit = True, code_commit()
    for name in names:
        with tempfile.TemporaryDirectory(prefix="medseg-check-") as folder:
            results = CHECKS[name](Place(Path(folder), model, data))
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        path = records / f"{day}-batch-{name}.json"
        write_json(path, {"date": day, "commit": commit, "processors": os.cpu_count(), **results})
        print(f"{name}: {json.dumps(results)[:300]}\n{path}", flush=True)
        held = held and bool(results["reached"])
    return 0 if held else 1


def main() -> int:
    """Make the checks that were asked for; 1 where one of them does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", help=", ".join(CHECKS))
    parser.add_argument("--model", type=Path, help="a model of the hippocampus")
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDSEG_TEST_DATA"), help="folder of real data")
    parser.add_argument("--output", type=Path, default=RECORDS)
    arguments = parser.parse_args()
    if arguments.data is None:
        print("skipped, no --data or MEDSEG_TEST_DATA names the folder of real data", flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="medseg-check-") as folder:
        data = Path(arguments.data).resolve()
        model = arguments.model.resolve() if arguments.model is not None else train_model(Path(folder), data)
        return make_checks(arguments.checks or list(CHECKS), model, data, records=arguments.output)


if __name__ == "__main__":
    sys.exit(main())
