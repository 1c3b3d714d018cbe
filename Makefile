# make run    set up, then the main job on built-in data: two logs in, a pipeline, a pushed SavedModel, and predictions
#             from a server of it
# make check  set up, then lint, types, the quick tests and five models: an answer in five minutes
#             (make check MODEL=cctl: the tests of one model)
# make test   set up, then lint, types and what a machine should prove: every model, exports, servers, the pipeline
# make test-all  after it, what it leaves: many draws, every case of every model; rows prepared on Dask and on a Spark
#             cluster; and the quick tests once more with the oldest supported libraries, which are TFX's neighbours
# make lint   ruff and mypy alone          make format  let ruff rewrite the code
# make docs   the site, into site/; a warning is an error
# make parity our models beside deepctr's, with equal weights; in an environment of its own
# make bench  speed and memory             make pins    resolve requirements/*.txt anew (needs uv)
# make clean  remove what these made
#
# A machine with make, bash, Python 3.10 to 3.13 and pip is enough. The environments are .venv and .venv-tfx; nothing
# outside this folder is touched (but for the caches of uv and pip).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: run check test test-all lint format docs parity bench pins clean

# Somebody else's active environment must not take part.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
# TensorFlow's native log: errors only, where the user has not chosen.
export TF_CPP_MIN_LOG_LEVEL ?= 2

BIN := .venv/bin
# .venv has the first of these that the machine has; `make check PYTHON=3.13` in a fresh clone takes that one.
PYTHON := 3.11 3.12 3.13 3.10
# Two test processes of one TensorFlow thread each (tests/conftest.py) use two cores better than one process of two.
WORKERS ?= 2
PYTEST := -m pytest -n $(WORKERS) --dist worksteal --durations 10

# With TFX where it can be installed, else without the pipeline (the script says so).
run:
	@echo "make run: sets up an environment (the first time some minutes, mostly for the download), then does the whole"
	@echo "job on built-in logs: train, export, verify, predict, serve (two to five minutes)."
	@$(MAKE) --no-print-directory .venv-tfx/ready
	@if [ -e .venv-tfx/ready ]; then bin=.venv-tfx/bin; else $(MAKE) .venv/ready; bin=$(BIN); fi; \
	PATH="$(CURDIR)/$$bin:$$PATH" bash examples/quickstart.sh

check: lint
	$(BIN)/python $(PYTEST) $(if $(MODEL),--model $(MODEL) tests/models,-m "not slow and not exhaustive")

test: lint .venv-tfx/ready
	$(BIN)/python $(PYTEST) -m "not exhaustive"
	$(call beside_tfx,The pipeline from end to end,not exhaustive,--dist loadfile tests/tfx_pipeline/)

test-all: .venv/ready .venv-tfx/ready .venv-scale/ready
	$(BIN)/python $(PYTEST) -m exhaustive
	@if [ -e .venv-scale/ready ]; then \
	    echo "Rows prepared on Dask and Spark"; \
	    .venv-scale/bin/python $(PYTEST) -k "dask or spark" tests/data/rows/test_executors.py; \
	else \
	    echo "NOT RUN: rows prepared on Dask and Spark: their libraries need Python 3.11 or newer."; \
	fi
	$(call beside_tfx,The pipeline day after day; and the quick tests with the oldest supported libraries,$(LAST),--dist loadfile --no-loadscope-reorder tests/tfx_pipeline/ $(OLDEST))

# In one session, file by file: a chain of days keeps one test process busy, and the quick tests the other.
LAST := pipeline and exhaustive or not (pipeline or once or slow or exhaustive)

# What the libraries' versions can break: of the models' tests those that all models share.
OLDEST := $(wildcard tests/test_*.py) $(filter-out tests/models/ tests/tfx_pipeline/,$(wildcard tests/*/)) \
    tests/models/test_arguments.py tests/models/test_conformance.py

# $(1): what is run there, $(2): of it the tests with these marks, $(3): where it is.
define beside_tfx
@if [ -e .venv-tfx/ready ]; then \
    echo "$(1), beside TFX"; \
    .venv-tfx/bin/python $(PYTEST) -m "$(2)" $(3); \
else \
    echo "NOT RUN: $(1): TFX is not here. It needs a python3.10 on the PATH (or python3.12 and glibc 2.39), and a C++ compiler."; \
fi
endef

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What pages have from the results and the code is made again first.
docs: .venv/ready .venv-docs/ready
	$(BIN)/python -m docs.render
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "The site is site/index.html. It needs no server."

parity: .venv-parity/ready
	TF_USE_LEGACY_KERAS=1 .venv-parity/bin/python $(PYTEST) tests/parity

bench: .venv/ready
	$(BIN)/python -m benchmarks

# 3.11 is what the pins are resolved for; the newer versions take the same ones. 3.10 alone has the oldest libraries.
.venv/ready: requirements/py311.txt requirements/make_env.sh pyproject.toml
	@requirements/make_env.sh .venv $(PYTHON)
	@touch $@

# A machine without the Python or the compiler that TFX needs gets no such environment, and `make test` says so.
.venv-tfx/ready: requirements/tfx116.txt requirements/tfx121.txt requirements/make_env.sh pyproject.toml
	@rm -f $@
	@requirements/make_env.sh .venv-tfx tfx && touch $@ || [ $$? = 3 ]

# Dask and Spark, with a Java runtime from the same place where the machine has none; without TensorFlow.
.venv-scale/ready: requirements/scale.txt requirements/make_env.sh pyproject.toml
	@rm -f $@
	@requirements/make_env.sh .venv-scale 3.11 3.12 3.13 && touch $@ || [ $$? = 3 ]

.venv-docs/ready: requirements/docs.txt requirements/make_env.sh
	@requirements/make_env.sh .venv-docs $(PYTHON)
	@touch $@

.venv-parity/ready: requirements/parity.txt requirements/make_env.sh pyproject.toml
	@requirements/make_env.sh .venv-parity 3.11 3.12 3.13
	@touch $@

# The newest versions; the oldest, beside TFX 1.16, which are the lower bounds of pyproject.toml (the test tools are new
# in both); and those beside TFX 1.21, for machines with glibc 2.39.
COMPILE := uv pip compile --quiet --no-annotate --no-header --upgrade pyproject.toml
pins:
	$(COMPILE) --python-version 3.11 --extra dev --output-file requirements/py311.txt
	$(COMPILE) --python-version 3.11 --extra dev --extra parity --constraint requirements/py311.txt \
	    --output-file requirements/parity.txt
	lowest=$$(mktemp); \
	$(COMPILE) --python-version 3.10 --extra kubeflow --resolution lowest-direct --output-file $$lowest; \
	$(COMPILE) --python-version 3.10 --extra kubeflow --extra dev --constraint $$lowest \
	    --output-file requirements/tfx116.txt; \
	rm -f $$lowest
	$(COMPILE) --python-version 3.12 --python-platform x86_64-manylinux_2_39 --extra tfx --extra dev \
	    --output-file requirements/tfx121.txt
	for group in docs scale; do \
	    uv pip compile --quiet --no-annotate --no-header --upgrade --group $$group --python-version 3.11 \
	        --output-file requirements/$$group.txt; \
	done

clean:
	rm -rf .venv .venv-* .uv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache runs/quickstart
	find cdrzoo tfx_pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
