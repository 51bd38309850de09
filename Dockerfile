# syntax=docker/dockerfile:1
#
# An image for jobs on a GPU: `medseg` with what it needs to run, and nothing to build or test it with.
#
#   docker build -t medseg --build-arg COMMIT="$(git rev-parse HEAD)" .
#   docker run --rm medseg demo
#
# The base is Debian or Ubuntu with a Python of 3.11 or newer: BASE=debian:12-slim makes an image without CUDA's base.
#
# torch==2.13.0 from PyPI brings its own libraries of CUDA 13.0.3 (cuBLAS, cuDNN, NCCL and others), so that the flavours
# `runtime` and `cudnn-runtime` would hold gigabytes twice. `base` of the same CUDA adds what the wheels do not have: the
# runtime library's loader settings, and the conditions by which the NVIDIA container toolkit refuses a driver that is too
# old. Renew both together. Whoever needs the very same bytes adds the tag's digest: BASE=...@sha256:...
ARG BASE=nvidia/cuda:13.0.3-base-ubuntu24.04

# Wheels to be preferred to those of the index, such as another build of torch; none, unless a folder is named:
#   docker build --build-context wheels=FOLDER ...
FROM scratch AS wheels

FROM ${BASE} AS python
# No versions: those of Debian and of Ubuntu differ, and old ones leave their archives.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log

FROM python AS builder
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml constraints.txt ./
# The dependencies are a layer of their own, which a change of the code does not touch. The venv holds no pip; the one of
# the builder fills it. Two secrets, both optional, for a network of its own: settings of pip, and certificates that these
# can name as /run/secrets/certificates.
#   docker build --secret id=pip.conf,src=pip.conf --secret id=certificates,src=ca.pem ...
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=certificates \
    --mount=type=bind,from=wheels,target=/wheels \
    python3 -m venv --without-pip /opt/medseg \
    && python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > requirements.txt \
    && python3 -m pip --python /opt/medseg install --no-cache-dir --only-binary :all: --find-links /wheels \
        -r requirements.txt -c constraints.txt
# What only the packages' own tests and compilers need; torch keeps the helper that it shares memory with.
RUN site=$(/opt/medseg/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && find "$site" -depth -type d -name tests -exec rm -r {} + \
    && rm -r "$site/torch/include" "$site/torch/test" \
    && find "$site/torch/bin" -mindepth 1 -not -name torch_shm_manager -delete
COPY README.md LICENSE ./
COPY pipeline pipeline
RUN python3 -m pip --python /opt/medseg install --no-cache-dir --no-index --no-deps --no-build-isolation .

FROM python
# Numbers, because Kubernetes asks for one, and above those that a base may have given away. The folders are open to every
# user, so that `--user` may name whoever owns the mounted data. MLflow puts a project's files into the last one and starts
# jobs there.
RUN groupadd --gid 10001 medseg \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /home/medseg --shell /usr/sbin/nologin medseg \
    && install -d -m 0777 /home/medseg /cache /work /work/runs /mlflow /mlflow/tmp /mlflow/projects /mlflow/projects/code \
    && ln -s /usr/share/medseg/configs /usr/share/medseg/data_samples /work \
    && ln -s /work/configs /work/data_samples /work/runs /mlflow/projects/code
COPY --from=builder /opt/medseg /opt/medseg
COPY configs /usr/share/medseg/configs
COPY data_samples /usr/share/medseg/data_samples
ENV PATH=/opt/medseg/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/home/medseg \
    USER=medseg \
    XDG_CACHE_HOME=/cache \
    MLFLOW_DISABLE_TELEMETRY=true \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG COMMIT=
ENV MEDSEG_COMMIT=$COMMIT
LABEL org.opencontainers.image.title="medseg-pipeline" \
      org.opencontainers.image.description="Medical image segmentation with a U-Net: training, evaluation and prediction" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision=$COMMIT
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["medseg"]
CMD ["--help"]
