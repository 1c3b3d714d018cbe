#!/usr/bin/env bash
# make_env.sh FOLDER VERSION...
# make_env.sh FOLDER tfx
#
# Makes the environment FOLDER with the first of the Python VERSIONS that this machine has, installs the pins that go
# with it (of .venv-NAME: requirements/NAME.txt) and this project on top, editable. Exit code 3: none of the versions
# is here, or for TFX no C++ compiler.
# `tfx`: with TFX, 1.21 on Python 3.12 where glibc is 2.39 or newer, which its wheels ask for, else 1.16 on Python 3.10.
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

newer=requirements/py311.txt
if [ "$1" = tfx ]; then
    newer=requirements/tfx121.txt
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
    if [ "$(printf '%s\n' 2.39 "${glibc:-0}" | sort -V | head -n 1)" = 2.39 ]; then set -- 3.12 3.10; else set -- 3.10; fi
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

# Python 3.10 is the oldest one supported and has the oldest libraries, those that TFX 1.16 asks for, and TFX itself.
[ "$version" = 3.10 ] && pins=requirements/tfx116.txt || pins=$newer
[ -e "requirements/${folder#.venv-}.txt" ] && pins="requirements/${folder#.venv-}.txt"
echo "Setting up $folder: Python $version, $pins (the first time a minute or two, and up to 4 GB)"
# From nothing each time, so that what an earlier or an interrupted set-up left cannot take part.
rm -rf "$folder"
"$uv" --quiet venv --python "$python" "$folder"
# Of TFX's neighbours this one alone has no wheel: where it cannot be built, that is known before 4 GB are fetched.
if compiled=$(grep '^pyfarmhash==' "$pins"); then
    if ! log=$("$uv" pip install --python "$folder" --no-deps "$compiled" 2>&1); then
        rm -rf "$folder"
        echo "$log" | tail -n 5 >&2
        if c++ --version >/dev/null 2>&1 || g++ --version >/dev/null 2>&1; then exit 1; fi
        echo "TFX is left out: ${compiled%%=*} has no wheel, and there is no C++ compiler (such as g++) to build it." >&2
        exit 3
    fi
fi
# Compiled once here: where Python may not write bytecode, TensorFlow takes 10 seconds to import instead of 3.5.
"$uv" --quiet pip install --python "$folder" --compile-bytecode --requirement "$pins"
"$uv" --quiet pip install --python "$folder" --no-deps --no-build-isolation --editable .
