#!/usr/bin/env bash
# The main job on built-in data: the logs of two domains in, a pipeline, a pushed SavedModel of the target and a
# prediction out.
#
#   make run                     with the project's environment, or
#   bash examples/quickstart.sh [FOLDER]    with the cdrzoo on the PATH
#
# Without TFX the model is trained and exported by cdrzoo alone.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-runs/quickstart}
rm -rf "$out" # what an earlier quickstart made; all of it is made again

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

step cdrzoo synthesize "$out/data"
step cdrzoo schema check "$out/data/schema.yaml"
if python -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("tfx"))'; then
    cp tfx_pipeline/configs/films.yaml "$out/data/pipeline.yaml"
    step python -m tfx_pipeline run "$out/data/pipeline.yaml"
    model=$out/data/saved_models/films
else
    printf '\nNOT RUN: the pipeline. TFX is not installed here; it needs Python 3.10 (or 3.12 and glibc 2.39).\n'
    step cdrzoo train "$out/data/run.yaml" --model cctl --out "$out/cctl"
    model=$out/data/saved_models/films
    step cdrzoo export "$out/cctl" --to "$model"
fi
step cdrzoo verify "$model/1"
step cdrzoo predict "$model/1" --input "$out/data/requests.csv"

printf '\nThe SavedModel is %s\n' "$model/1"
