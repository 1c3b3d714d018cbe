#!/usr/bin/env bash
# The main job on built-in data: the logs of two domains in, a pipeline, a pushed SavedModel of the target, and its
# predictions out, here and from a server.
#
#   make run                     with the project's environment, or
#   bash examples/quickstart.sh [FOLDER]    with the cdrzoo on the PATH
#
# Without TFX the model is trained and exported by cdrzoo alone; without the extra `serving` nothing is served.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-runs/quickstart}
rm -rf "$out" # what an earlier quickstart made; all of it is made again

has() { # whether these Python modules are installed
    python -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))' "$@"
}

step() {
    printf '\n$ %s\n' "$*"
    "$@"
}

echo "The main job on built-in logs: two logs in, a model, a proven SavedModel, predictions from it and from a server."
echo "Two to five minutes on two cores. Each command is shown before it runs; the files go to $out."

models=$out/data/saved_models
step cdrzoo synthesize "$out/data"
step cdrzoo schema check "$out/data/schema.yaml"
if has tfx; then
    cp tfx_pipeline/configs/films.yaml "$out/data/pipeline.yaml"
    step python -m tfx_pipeline run "$out/data/pipeline.yaml"
else
    printf '\nNOT RUN: the pipeline. TFX is not installed here; it needs Python 3.10 (or 3.12 and glibc 2.39)\nand a C++ compiler. A model is trained and exported without it, in about a minute.\n'
    step cdrzoo train "$out/data/run.yaml" --model cctl --out "$out/cctl"
    step cdrzoo export "$out/cctl" --to "$models/films"
fi
step cdrzoo verify "$models/films/1"
step cdrzoo predict "$models/films/1" --input "$out/data/requests.csv"

if has grpc tensorflow_serving urllib3; then
    printf '\n$ cdrzoo serve %s --port 0 --rest-port 0 &\n' "$models"
    exec 3< <(exec cdrzoo serve "$models" --port 0 --rest-port 0)
    server=$!
    trap '{ kill "$server" && wait "$server"; } 2>/dev/null || :' EXIT
    read -r _ grpc _ rest _ <&3 # it writes where it listens once it answers, or ends
    step cdrzoo predict films --server "${grpc%,}" --input "$out/data/requests.csv"
    step cdrzoo predict films --server "${rest%;}" --input "$out/data/requests.csv"
else
    printf "\nNOT RUN: the server. Install it with: pip install 'cdrzoo[serving]'\n"
fi

printf '\nThe SavedModel is %s. Next: docs/start/first_model.md, and docs/start/own_files.md for your own logs.\n' \
    "$models/films/1"
