#!/bin/sh
# Builds both Dockerfiles on a bare Debian instead of NVIDIA's images, which needs no registry, and looks into the results. Takes minutes and 10 GB.
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

for name in server build; do
  echo "--- building $name.Dockerfile"
  # --format docker: the OCI format knows no HEALTHCHECK
  image build --pull-never --format docker --build-arg BASE=localhost/masklet-base:debian -f "$root/docker/$name.Dockerfile" \
    -t "localhost/masklet-$name:debian" "$@" "$root"
done

inside() { # image, command: in a new container of it, as its user
  made=$(image from --pull-never "localhost/masklet-$1:debian")
  status=0
  image run "$made" -- sh -c "$2" || status=$?
  image rm "$made" >/dev/null
  return $status
}
echo "--- looking into the server"
inside server 'echo "user $(id -u):$(id -g), python packages of $(python3 -c "import sys; print(sys.prefix)")"'
inside server 'python3 -c "import numpy, PIL, masklet; print(numpy.__version__, PIL.__version__, masklet.__file__)"; du -sm /opt/masklet'
inside server 'masklet --help | head -1; masklet track --help >/dev/null && echo "the client runs without PyAV"'
inside server 'if touch /opt/masklet/new 2>/dev/null; then echo "WRONG: /opt/masklet is writable"; exit 1; fi; echo "nothing under /opt/masklet is writable"'
# There is no Triton in a bare Debian: the entrypoint gets as far as starting it.
inside server 'mkdir -p /tmp/m/tracker; touch /tmp/m/tracker/config.pbtxt; MASKLET_MODELS=/tmp/m python3 /opt/masklet/entrypoint.py; [ $? = 127 ]'
echo "--- looking into the builder"
inside build 'id -u; masklet-build assemble nano --target onnxruntime --out /tmp/repository && ls /tmp/repository; du -sm /opt/masklet'
inside build 'masklet-build export nano --out /tmp/engines && ls /tmp/engines'
echo "--- as it should be"
