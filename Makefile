# python3 of your system, 3.11 to 3.13; `make PYTHON=python3.12 demo` takes another.
PYTHON ?= python3
EXTRAS ?= test,recipes,ctranslate2,onnx
BIN := .venv/bin
STAMP := .venv/.installed-from-setup-cfg

.PHONY: help venv demo test test-long bench-layers lint format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       train a small translator, score it, export saved_models/translation"
	@echo "make test       the tests (two processes)"
	@echo "make test-long  the long tests: minutes each, some need real data"
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

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not long"

test-long: $(STAMP)
	$(BIN)/python -m pytest -q -m long

bench-layers: $(STAMP)
	$(BIN)/python -m benchmarks.layers

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
