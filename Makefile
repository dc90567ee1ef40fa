# python3 of your system, 3.11 to 3.13; `make PYTHON=python3.12 demo` takes another.
PYTHON ?= python3
EXTRAS ?= test,recipes,ctranslate2,onnx,docs
BIN := .venv/bin
NIGHTLY := .venv-nightly/bin
STAMP := .venv/.installed-from-setup-cfg
NIGHTLY_STAMP := .venv-nightly/.installed-from-setup-cfg
# Processes of the tests; each takes one thread, and up to 4 GB.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal
# `make test-long SHARD=3` runs the third of so many parts of the long tests, which take about as long each by the
# durations noted in tests/long_durations.json; `ARGS=--store-durations` notes new ones.
SHARDS := 30
SPLIT := --splits $(SHARDS) --splitting-algorithm least_duration --durations-path tests/long_durations.json
PART = $(if $(SHARD),$(SPLIT) --group $(SHARD))
ON_JAX := tests/layers tests/models tests/decoding tests/test_losses.py tests/test_metrics.py tests/test_optimizers.py
ON_NIGHTLY := tests/layers tests/models tests/distribution

.PHONY: help venv demo docs tutorials test test-data test-jax test-jax-long test-nightly test-long coverage tiers mutants bench-layers lint format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       train a small translator, score it, export saved_models/translation"
	@echo "make docs       the site, with the API reference, in build/site"
	@echo "make tutorials  run the tutorials, some five minutes, and store their outputs for the site"
	@echo "make test       the tests, some six minutes in two processes (docs/testing.md)"
	@echo "make test-data  those of the tests that read public data sets, which KERAS_SEQ_DATA names the folder of"
	@echo "make test-jax   what must run on another backend of Keras, on JAX"
	@echo "make test-jax-long  what is long on JAX alone; SHARD=3 runs the third of its 30 parts"
	@echo "make test-nightly  layers, models and distribution on the newest keras-nightly, in .venv-nightly"
	@echo "make test-long  the long tests, over an hour; SHARD=3 runs the third of their 30 parts"
	@echo "make coverage   line and branch coverage by package, processes that tests start included"
	@echo "make tiers      which slow tests run no line that quicker ones do not, and so are long; half an hour"
	@echo "make mutants    how many of 120 small changes to the code the tests find"
	@echo "make bench-layers  the recurrent layers against Keras's: times and memory, half an hour"
	@echo "make lint       formatting and lint"
	@echo "make format     format, and mend what lint can mend"
	@echo "make venv       only install, into .venv"
	@echo "make clean      remove .venv and caches; run folders and saved models stay"

venv: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

demo: $(STAMP)
	$(BIN)/python -m recipes.translation

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml
	@echo "build/site/index.html is the first page. $(BIN)/python -m http.server --directory build/site serves it."

tutorials: $(STAMP)
	$(BIN)/python -m docs.site.tutorials $(ARGS)

test: $(STAMP)
	$(PYTEST) -m "not long" $(ARGS)

test-data: $(STAMP)
	$(PYTEST) -m "real_data and not long" $(ARGS)

test-jax: $(STAMP)
	KERAS_BACKEND=jax $(PYTEST) -m "not long" $(ARGS) $(ON_JAX)

# Keras goes and keras-nightly comes: both are the package `keras`, and setup.cfg asks for a release.
$(NIGHTLY_STAMP): setup.cfg pyproject.toml constraints.txt
	test -x $(NIGHTLY)/python || $(PYTHON) -m venv .venv-nightly
	$(NIGHTLY)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	$(NIGHTLY)/python -m pip uninstall --quiet --disable-pip-version-check --yes keras keras-nightly
	touch $@

test-nightly: $(NIGHTLY_STAMP)
	$(NIGHTLY)/python -m pip install --quiet --disable-pip-version-check --pre --upgrade --no-deps keras-nightly
	$(NIGHTLY)/python -c 'import keras; print("Keras", keras.version())'
	$(NIGHTLY)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not long" $(ARGS) $(ON_NIGHTLY)

test-long: $(STAMP)
	$(PYTEST) -m long $(PART) $(ARGS)

test-jax-long: $(STAMP)
	KERAS_BACKEND=jax $(PYTEST) -m long_on_jax $(PART) $(ARGS) $(ON_JAX)

coverage: $(STAMP)
	$(PYTEST) -m "not long" --cov --cov-context=test --cov-report= $(ARGS)
	$(BIN)/python -m tests.coverage_table

tiers: $(STAMP)
	$(PYTEST) -m "not long or covered" --cov --cov-context=test --cov-report= --junitxml=build/tiers.xml $(ARGS)
	$(BIN)/python -m tests.tiers .coverage build/tiers.xml

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants --coverage .coverage $(ARGS)

bench-layers: $(STAMP)
	$(BIN)/python -m benchmarks.layers

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ruff check --select S keras_seq/serving keras_seq/commands/serve.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-nightly .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
