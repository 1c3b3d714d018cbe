#!/usr/bin/env bash
# The main job on built-in data: the logs of two domains in, a proven SavedModel of the target and a prediction out.
#
#   make run                     with the project's environment, or
#   bash examples/quickstart.sh [FOLDER]    with the cdrzoo on the PATH
set -euo pipefail

out=${1:-runs/quickstart}
rm -rf "$out" # what an earlier quickstart made; all of it is made again

step() {
    printf '\n$ cdrzoo %s\n' "$*"
    cdrzoo "$@"
}

step synthesize "$out/data"
step schema check "$out/data/schema.yaml"
step train "$out/data/run.yaml" --model cctl --out "$out/cctl"
step compare "$out/data/run.yaml" --models dnn,cctl --seeds 2 --out "$out/compare"
step export "$out/cctl" --to "$out/saved_models/films"
step verify "$out/saved_models/films/1" --run "$out/cctl"
step predict "$out/saved_models/films/1" --input "$out/data/requests.csv"

printf '\nThe SavedModel is %s\n' "$out/saved_models/films/1"
