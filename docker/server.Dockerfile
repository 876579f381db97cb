# The server: Triton of NVIDIA's image, and what masklet's python models and probes need beside it.
#
#   docker build -f docker/server.Dockerfile -t masklet-server .                       from the root of the repository
#   docker run --gpus all --shm-size 2g -p 127.0.0.1:8001:8001 -v $PWD/repository:/models:ro masklet-server
#
# The base is some 10 GB; what is added to it is under /opt/masklet.
ARG BASE=nvcr.io/nvidia/tritonserver:26.08-py3

# --- what pip installs, apart from the image that runs: neither caches nor build tools end up in it
FROM ${BASE} AS packages
WORKDIR /src
COPY build/locks/image_server.txt build/locks/image_tools.txt ./
# A virtual environment, so that nothing of the base is changed and everything in it has an exact version. Triton's python stub takes its packages
# from the first python3 on PATH. --without-pip: the base has pip, but not necessarily ensurepip. --no-deps: the lock is complete, and has hashes.
RUN python3 -m venv --without-pip /opt/masklet \
    && python3 -m pip --python /opt/masklet/bin/python install --no-cache-dir --no-deps --require-hashes -r image_server.txt \
    && python3 -m venv --without-pip /build \
    && python3 -m pip --python /build/bin/python install --no-cache-dir --no-deps --require-hashes -r image_tools.txt
COPY client/ client/
# The client: `masklet probe` and `masklet drain`, which the manifests call inside the container.
RUN python3 -m pip --python /build/bin/python wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels ./client \
    && python3 -m pip --python /opt/masklet/bin/python install --no-cache-dir --no-deps wheels/*.whl

# --- the image that runs
FROM ${BASE}
COPY --from=packages /opt/masklet /opt/masklet
COPY docker/entrypoint.py build/src/masklet_build/serve/triton_options.py /opt/masklet/
# PATH: Triton's python models find the packages above. HOME, CUPY_CACHE_DIR: the root file system is read-only, /tmp is writable.
ENV PATH=/opt/masklet/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    CUPY_CACHE_DIR=/tmp/cupy
# gRPC, HTTP (health only), metrics
EXPOSE 8001 8000 8002
# Nobody on the host, and above 10000, where no host's own users are.
USER 10001:10001
WORKDIR /tmp
# Dead, not slow, by the counters at the metrics port: with TLS, several variants and a full server as well. Triton's own endpoint does not do: before
# 26.04 it stays green when a python model has died.
HEALTHCHECK --interval=20s --timeout=10s --start-period=600s --retries=3 CMD ["masklet", "probe", "localhost:8001", "--live", "--timeout-s=8"]
ENTRYPOINT ["/opt/masklet/bin/python", "/opt/masklet/entrypoint.py"]
