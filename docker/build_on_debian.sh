#!/bin/sh
# Builds server.Dockerfile on a bare Debian instead of NVIDIA's image, which needs no registry, and looks into the result. Takes minutes.
# As root, with debootstrap and buildah: docker/build_on_debian.sh [FOLDER for the base, 300 MB]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
base=$(readlink -f "${1:-$(mktemp -d)}")
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot

if [ ! -e "$base/usr/bin/python3" ]; then
  echo "--- base: debootstrap into $base"
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$base" >"$base.log"
fi
made=$(buildah from scratch)
buildah add -q "$made" "$base" / >/dev/null
buildah commit -q "$made" localhost/masklet-base:debian >/dev/null
buildah rm "$made" >/dev/null

echo "--- building"
# cupy is for GPUs and 150 MB: everything else is installed as written.
buildah build --pull-never --build-arg BASE=localhost/masklet-base:debian -f "$root/docker/server.Dockerfile" -t localhost/masklet-server:debian "$root"

echo "--- looking into it"
ran=$(buildah from --pull-never localhost/masklet-server:debian)
trap 'buildah rm "$ran" >/dev/null' EXIT
buildah run "$ran" -- sh -c 'id -u; python3 -c "import numpy, PIL, sys; print(sys.prefix, numpy.__version__, PIL.__version__)"; masklet --help | head -3'
buildah run "$ran" -- sh -c 'du -sm /opt/masklet; ! touch /opt/masklet/new 2>/dev/null && echo "user $(id -u) cannot write to /opt/masklet"'
# No Triton in a bare Debian: the entrypoint says so.
buildah run "$ran" -- sh -c 'mkdir -p /tmp/m/tracker && touch /tmp/m/tracker/config.pbtxt; MASKLET_MODELS=/tmp/m python3 /opt/masklet/entrypoint.py; echo "exit code $?"'
