#!/usr/bin/env bash
# make_env.sh FOLDER VERSION...
#
# Makes the environment FOLDER with the first of the Python VERSIONS that this machine has, installs the pins that go
# with it (of .venv-NAME: requirements/NAME.txt) and this project on top, editable. Exit code 3: none of the versions
# is here.
# uv is taken where it is there; where it is not, pip puts it into .uv/ of this project, not into the user's Python.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
shift
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME

# Asked to run, not only found: a version manager's shim may stand on the PATH with nothing behind it.
uv=uv
if ! uv --version >/dev/null 2>&1; then
    uv=$PWD/.uv/bin/uv
    if ! "$uv" --version >/dev/null 2>&1; then
        echo "uv is not here: pip fetches it into .uv/"
        PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --upgrade --target .uv uv
    fi
fi

python=
for version in "$@"; do
    if found=$("$uv" python find --system --no-python-downloads "$version" 2>/dev/null) && [ -n "$found" ]; then
        python=$found
        break
    fi
done
if [ -z "$python" ]; then
    echo "No Python $(printf '%s, ' "$@" | sed 's/, $//') on this machine (looked on the PATH)." >&2
    exit 3
fi

# Python 3.10 is the oldest one supported and has the oldest libraries; the newest set is one for all the others.
[ "$version" = 3.10 ] && pins=requirements/py310.txt || pins=requirements/py311.txt
case $folder in .venv-*) pins=requirements/${folder#.venv-}.txt ;; esac
echo "Setting up $folder: Python $version, $pins (the first time about a minute and 2.5 GB)"
# From nothing each time, so that what an earlier or an interrupted set-up left cannot take part.
rm -rf "$folder"
"$uv" --quiet venv --python "$python" "$folder"
# Compiled once here: where Python may not write bytecode, TensorFlow takes 10 seconds to import instead of 3.5.
"$uv" --quiet pip install --python "$folder" --compile-bytecode --requirement "$pins"
"$uv" --quiet pip install --python "$folder" --no-deps --no-build-isolation --editable .
