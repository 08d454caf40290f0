# `make demo` and `make test` do all the set-up themselves, in .venv.
PYTHON ?= python3
BIN := .venv/bin
# Pinned where a newer release would bring gigabytes of CUDA to a machine without GPU.
TORCH := torch==2.13.0
# Without its dependencies: one is tensorflow, which would go over tensorflow-cpu.
SERVING_API := tensorflow-serving-api==2.21.0
BACKENDS := tensorflow jax torch

.PHONY: demo test test-all lint unit doctest wheel docs benchmark clean

demo: .venv/.demo
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/keras-multvae demo

test: lint unit doctest wheel
	@echo "lint, $(words $(BACKENDS)) backends, doctests and the wheel: all passed"

test-all: PYTEST_MARKS :=
test-all: test

PYTEST_MARKS := -m "not slow"

unit: .venv/.test
	@set -e; for backend in $(BACKENDS); do \
	  echo "== tests on $$backend"; \
	  KERAS_BACKEND=$$backend TF_CPP_MIN_LOG_LEVEL=2 \
	    $(BIN)/python -m pytest -q $(PYTEST_MARKS) --durations=3; \
	done

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
