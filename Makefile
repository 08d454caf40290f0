# `make demo` and `make test` do all the set-up themselves, in .venv.
PYTHON ?= python3
BIN := .venv/bin
# Pinned where a newer release would bring gigabytes of CUDA to a machine without GPU.
TORCH := torch==2.13.0
# Without its dependencies: one is tensorflow, which would go over tensorflow-cpu.
SERVING_API := tensorflow-serving-api==2.21.0
BACKENDS := tensorflow jax torch
COMMA := ,

.PHONY: demo test test-all test-oldest lint unit unit-once $(BACKENDS:%=unit-%) doctest \
  wheel docs cli-docs notebooks benchmark dist release-check clean

demo: .venv/.demo
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/keras-multvae demo

# Its parts go on two at a time, the longest first; each prints once it has ended.
PARTS := unit-jax unit-tensorflow unit-torch unit-once wheel doctest docs lint
JOBS ?= 2

test: .venv/.test
	@$(MAKE) --no-print-directory --jobs $(JOBS) --keep-going --output-sync=target $(PARTS)
	@echo "lint, $(words $(BACKENDS)) backends, doctests, the site and the wheel: all passed"

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

# Of the backends, one in `make test` and all in `make test-all`.
wheel: .venv/.test
	@echo "== the wheel, in an environment with $(if $(SLOW),each backend,JAX) alone"
	$(BIN)/python tests/integration/installed_wheel.py \
	  $(if $(SLOW),$(BACKENDS:%=--backend %),--backend jax) --torch $(TORCH)

# The tests of one backend with the lowest version of every dependency that
# pyproject.toml allows; what these depend on is as new as can be, and warns of it.
OLDEST ?= tensorflow
test-oldest: .venv-oldest/.$(OLDEST)
	@echo "== tests on $(OLDEST), with the oldest dependencies"
	KERAS_BACKEND=$(OLDEST) TF_CPP_MIN_LOG_LEVEL=2 \
	  .venv-oldest/bin/python -m pytest -q -W default -m "not slow"

# The site, into site/; a link that leads nowhere fails. It reads the code and imports
# none of it.
docs: .venv/.test
	@echo "== the documentation site"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# docs/cli.md, from the parser.
cli-docs: .venv/.test
	$(BIN)/python docs/write_cli.py

dist: .venv/.test
	rm -rf dist
	$(BIN)/python -m build --outdir dist

# What is still missing for a release, line by line: docs/releasing.md.
release-check: dist
	$(BIN)/python release/check.py

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
	$(BIN)/python -m pip install --quiet -e ".[tensorflow-cpu,demo]"
	@touch $@

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -e ".[tensorflow-cpu,jax,dev]"
	$(BIN)/python -m pip install --quiet --no-deps $(SERVING_API)
	@touch $@

# uv resolves to the lowest versions, which pip cannot.
.venv-oldest/.%: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-oldest
	$(BIN)/uv pip install --quiet --python .venv-oldest/bin/python \
	  --resolution lowest-direct -e ".[test,tensorflow-cpu$(if $(filter tensorflow,$*),,$(COMMA)$*)]"
	@touch $@

clean:
	rm -rf .venv .venv-oldest build dist demo site
