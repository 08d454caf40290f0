# `make demo` and `make test` do all the set-up themselves, in .venv.
PYTHON ?= python3
BIN := .venv/bin
# Pinned where a newer release would bring gigabytes of CUDA to a machine without GPU.
TORCH := torch==2.13.0
# Without its dependencies: one is tensorflow, which would go over tensorflow-cpu.
SERVING_API := tensorflow-serving-api==2.21.0
BACKENDS := tensorflow jax torch

.PHONY: demo test test-all lint unit unit-once $(BACKENDS:%=unit-%) doctest wheel docs cli-docs notebooks benchmark clean

demo: .venv/.demo
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/keras-multvae demo

# Its parts go on two at a time, the longest first; each prints once it has ended.
PARTS := unit-jax unit-tensorflow unit-torch unit-once wheel doctest lint
JOBS ?= 2

test: .venv/.test
	@$(MAKE) --no-print-directory --jobs $(JOBS) --keep-going --output-sync=target $(PARTS)
	@echo "lint, $(words $(BACKENDS)) backends, doctests and the wheel: all passed"

test-all:
	@$(MAKE) test SLOW=1

unit: unit-once $(BACKENDS:%=unit-%)

NOT_SLOW := $(if $(SLOW),, and not slow)
# Of parts that go on side by side, each has a core: more threads would only wait.
PYTEST = OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 \
  TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m pytest -q --durations=5

unit-once: .venv/.test
	@echo "== tests that touch no backend"
	@KERAS_BACKEND=tensorflow $(PYTEST) -m "once$(NOT_SLOW)"

$(BACKENDS:%=unit-%): unit-%: .venv/.test
	@echo "== tests on $*"
	@$(if $(SLOW),JAX_DISABLE_MOST_OPTIMIZATIONS=0) KERAS_BACKEND=$* \
	  $(PYTEST) -m "not once$(NOT_SLOW)"

doctest: .venv/.test
	@echo "== examples in the docstrings"
	KERAS_BACKEND=jax $(BIN)/python -m pytest -q --doctest-modules keras_multvae \
	  --ignore=keras_multvae/backend --ignore=keras_multvae/__main__.py

lint: .venv/.test
	@echo "== ruff and mypy"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	KERAS_BACKEND=jax $(BIN)/mypy

wheel: .venv/.test
	@echo "== the wheel, in an environment with JAX alone"
	$(BIN)/python tests/integration/installed_wheel.py

docs: .venv/.test
	KERAS_BACKEND=jax $(BIN)/pdoc --docformat google -o docs/api keras_multvae \
	  keras_multvae.data keras_multvae.distribution keras_multvae.evaluation keras_multvae.selection \
	  keras_multvae.training keras_multvae.plots

# docs/cli.md, from the parser.
cli-docs: .venv/.test
	$(BIN)/python docs/write_cli.py

# The outputs of docs/notebooks/, from a run of all cells: some minutes.
notebooks: .venv/.test
	KERAS_BACKEND=tensorflow $(BIN)/python docs/run_notebooks.py

# An hour and a quarter and 10 GiB of memory; GOWALLA=gowalla.npz and
# MOVIELENS=ratings.csv add these data sets.
benchmark: .venv/.test
	$(BIN)/python -m benchmarks all $(if $(GOWALLA),--gowalla $(GOWALLA)) \
	  $(if $(MOVIELENS),--movielens $(MOVIELENS))

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/.demo: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet tensorflow-cpu -e ".[demo]"
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet tensorflow-cpu "jax>=0.8" -e ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps $(SERVING_API)
	@touch $@

clean:
	rm -rf .venv build dist demo
