#!/usr/bin/env bash
# Build the image where no Docker engine runs, on a plain Debian, run the demo in it as its own user and without a
# network, and write what was seen as JSON. As root; Debian's packages buildah and debootstrap.
#
#   scripts/build_image_without_docker.sh RECORD.json [--wheels FOLDER] [--certificates FILE]
#
# --wheels        packages to be preferred to those of the index, such as a smaller build of torch
# --certificates  of the network's own authority, where it has one; neither gets into the image
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

record=${1:?"usage: $0 RECORD.json [--wheels FOLDER] [--certificates FILE]"}
shift
for tool in buildah debootstrap unshare; do
  command -v "$tool" >/dev/null && [ "$(id -u)" = 0 ] && continue
  echo "Expected to run as root, with buildah, debootstrap and unshare; found user $(id -un)$(command -v "$tool" >/dev/null ||
    echo " and no $tool"). Run it with sudo, after: apt-get install buildah debootstrap" >&2
  exit 2
done
scratch=$(mktemp -d)
mkdir "$scratch/wheels"
wheels=$scratch/wheels certificates=
while [ $# -gt 0 ]; do
  case $1 in
    --wheels) wheels=$2 ;;
    --certificates) certificates=$2 ;;
    *) echo "Expected --wheels or --certificates, found $1." >&2; exit 2 ;;
  esac
  shift 2
done

storage=(--root "$scratch/storage" --runroot "$scratch/run" --storage-driver vfs)
run_buildah() { buildah "${storage[@]}" "$@"; }
trap 'run_buildah rm --all >/dev/null || true; rm -rf "$scratch"' EXIT

suite=bookworm
debootstrap --variant=minbase "$suite" "$scratch/base" http://deb.debian.org/debian >"$scratch/debootstrap.log"
base=$(run_buildah from scratch)
run_buildah add --quiet "$base" "$scratch/base" / >/dev/null
run_buildah commit --quiet "$base" localhost/debian-base >/dev/null

secrets=()
if [ -n "$certificates" ]; then
  printf '[global]\ncert = /run/secrets/certificates\n' >"$scratch/pip.conf"
  secrets=(--secret "id=pip.conf,src=$scratch/pip.conf" --secret "id=certificates,src=$certificates")
fi
commit=$(git rev-parse HEAD)$(git diff --quiet HEAD || echo +changes)
started=$SECONDS
run_buildah build --isolation chroot --tag localhost/medseg --build-arg BASE=localhost/debian-base \
  --build-arg COMMIT="$commit" --build-context wheels="$wheels" "${secrets[@]}" .
build_seconds=$((SECONDS - started))

container=$(run_buildah from localhost/medseg)
files=$(run_buildah mount "$container")
base_bytes=$(du --summarize --bytes "$scratch/base" | cut -f 1)
image_bytes=$(du --summarize --bytes "$files" | cut -f 1)

# A network namespace of its own has no way out, not even to the machine itself.
inside() { unshare --net buildah "${storage[@]}" run --isolation chroot "$container" -- "$@"; }
user=$(inside id --user)
network=$(inside python -c 'import socket; print([name for _, name in socket.if_nameindex()])')
torch=$(inside python -c 'import torch; print(torch.__version__)')
started=$SECONDS
inside medseg demo | tee "$scratch/demo.log"
demo_seconds=$((SECONDS - started))

python3 - "$record" "$scratch/demo.log" <<EOF
import datetime, json, pathlib, sys

record, log = map(pathlib.Path, sys.argv[1:])
summary = next(pathlib.Path("$files/work/runs/demo").glob("*/evaluation/metrics.json"))
found = {
    "image_bytes": $image_bytes,
    "of_these_the_base": $base_bytes,
    "build_seconds": $build_seconds,
    "demo": {
        "user": int("$user"),
        "network_interfaces": $network,
        "seconds": $demo_seconds,
        "mean_dice": json.loads(summary.read_text())["mean_dice"],
        "masks": len(list(pathlib.Path("$files/work/runs/demo").glob("*/predictions/**/*.nii.gz"))),
    },
}
demo = found["demo"]
content = {
    "commit": "$commit",
    "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    "base": "debian $suite, minbase",
    "torch": "$torch",
    "results": found,
    "not_run": "a GPU in a container, and the CUDA base",
    "reached": demo["user"] != 0 and demo["network_interfaces"] == ["lo"] and demo["mean_dice"] >= 0.9,
}
record.write_text(json.dumps(content, indent=2) + "\n")
wanted = "a demo by another user than root, without a network, of mean Dice 0.9 or more"
print(f"{'reached' if content['reached'] else f'NOT reached ({wanted})'}; {record}")
sys.exit(0 if content["reached"] else 1)
EOF
