#!/bin/sh
# Asks the registries what the tags of versions.env mean now, and writes the digests into it. Needs Docker with buildx, and the network:
#
#   docker/pin.sh
set -eu
cd "$(dirname "$0")"
. ./versions.env

pin() { # name in versions.env, image
  digest=$(docker buildx imagetools inspect "$2" --format '{{.Manifest.Digest}}')
  expr "$digest" : 'sha256:[0-9a-f]\{64\}$' >/dev/null || { echo "pin.sh: $2 has no digest, the registry said: $digest" >&2; exit 1; }
  sed -i "s/^$1_DIGEST=.*/$1_DIGEST=@$digest/" versions.env
  echo "$2@$digest"
}
pin TRITON "nvcr.io/nvidia/tritonserver:$TRITON_TAG"
pin TENSORRT "nvcr.io/nvidia/tensorrt:$TENSORRT_TAG"
pin PROMETHEUS "prom/prometheus:$PROMETHEUS_TAG"
pin GRAFANA "grafana/grafana:$GRAFANA_TAG"
pin HAPROXY "haproxy:$HAPROXY_TAG"
