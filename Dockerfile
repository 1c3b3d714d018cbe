# cdrzoo in an image, on a CPU, for a user without rights:
#   docker build -t cdrzoo .
#   docker run --rm -v "$PWD:/data" -u "$(id -u):$(id -g)" cdrzoo train run.yaml --out runs/cctl
# The image that a compiled pipeline runs in (docs/pipeline.md):
#   docker build --build-arg PYTHON=3.10 --build-arg PINS=tfx116 --build-arg EXTRAS=kubeflow -t REGISTRY/cdrzoo-pipeline .
ARG PYTHON=3.11

# The whole image of Python, for TFX needs a compiler.
FROM python:${PYTHON} AS build
ARG PINS=py311
ARG EXTRAS=recommenders,report,serving,tune
RUN python -m venv /opt/cdrzoo
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/cdrzoo/bin/pip install --constraint requirements/${PINS}.txt ".[${EXTRAS}]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/cdrzoo /opt/cdrzoo
# Keras and matplotlib write into the home folder: one that every user may write to.
ENV PATH=/opt/cdrzoo/bin:$PATH HOME=/tmp TF_CPP_MIN_LOG_LEVEL=2
RUN useradd --uid 1000 --create-home --home-dir /data cdrzoo
USER cdrzoo
WORKDIR /data
ENTRYPOINT ["cdrzoo"]
