#!/bin/sh
# Builds server.Dockerfile on a bare Debian instead of NVIDIA's image, which needs no registry, and looks into the result. Takes minutes and 2 GB.
# As root, with debootstrap and buildah:
#
#   docker/build_on_debian.sh FOLDER [option of `buildah build` ...]         everything is kept in FOLDER: delete it afterwards
set -eu

folder=${1:?where to build: docker/build_on_debian.sh FOLDER}
shift
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
folder=$(readlink -f "$folder")
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
image() { buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }

if [ ! -e "$folder/debian/usr/bin/python3" ]; then
  echo "--- a Debian with python3 and pip, into $folder/debian"
  debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates bookworm "$folder/debian" >"$folder/debootstrap.log"
fi
base=$(image from scratch)
image add -q "$base" "$folder/debian" / >/dev/null
image commit -q "$base" localhost/masklet-base:debian >/dev/null
image rm "$base" >/dev/null

echo "--- building"
image build --pull-never --build-arg BASE=localhost/masklet-base:debian -f "$root/docker/server.Dockerfile" -t localhost/masklet-server:debian "$@" "$root"

echo "--- looking into it"
made=$(image from --pull-never localhost/masklet-server:debian)
trap 'image rm "$made" >/dev/null' EXIT
inside() { image run "$made" -- sh -c "$1"; }
inside 'echo "user $(id -u):$(id -g), python packages of $(python3 -c "import sys; print(sys.prefix)")"'
inside 'python3 -c "import numpy, PIL, masklet; print(numpy.__version__, PIL.__version__, masklet.__file__)"; du -sm /opt/masklet/lib/python3*/site-packages/* | sort -rn | head -5'
inside 'masklet --help | head -1; masklet track --help >/dev/null && echo "the client runs without PyAV"'
inside 'if touch /opt/masklet/new 2>/dev/null; then echo "WRONG: /opt/masklet is writable"; exit 1; fi; echo "nothing under /opt/masklet is writable"'
# There is no Triton in a bare Debian: the entrypoint gets as far as starting it.
inside 'mkdir -p /tmp/m/tracker; touch /tmp/m/tracker/config.pbtxt; MASKLET_MODELS=/tmp/m python3 /opt/masklet/entrypoint.py; [ $? = 127 ]'
echo "--- as it should be"
