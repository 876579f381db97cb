# The builder: `masklet-build` with TensorRT, PyTorch (for CPUs: it only exports) and ONNX. Export, engines and selftest run here.
#
#   docker build -f docker/build.Dockerfile -t masklet-build .                          from the root of the repository
#   docker run --rm -v $PWD:/files masklet-build export sam2.1_t --checkpoint sam2.1_hiera_tiny.pt --out engines/
#
# TensorRT plans run only on the TensorRT that built them, so take the tensorrt image of the same month as the server's (versions.env).
ARG BASE=nvcr.io/nvidia/tensorrt:26.08-py3

FROM ${BASE}
WORKDIR /src
COPY build/locks/torch.txt build/locks/image_build.txt ./
# A virtual environment that sees the base's packages, for TensorRT's python bindings, and has everything else in exact versions, checked by their hashes.
# torch is the CPU build: a tenth of the CUDA build's size, and exporting needs no GPU.
RUN python3 -m venv --without-pip --system-site-packages /opt/masklet \
    && python3 -m pip --python /opt/masklet/bin/python install --no-cache-dir --no-deps --require-hashes \
        --extra-index-url https://download.pytorch.org/whl/cpu -r torch.txt -r image_build.txt
COPY client/ client/
COPY build/ build/
# build/src/masklet_build/model_repository is a link to this folder.
COPY model_repository/ model_repository/
RUN python3 -m pip --python /opt/masklet/bin/python install --no-cache-dir --no-deps --no-build-isolation ./client ./build
ENV PATH=/opt/masklet/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 10001:10001
WORKDIR /files
ENTRYPOINT ["masklet-build"]
