# `make demo` on a fresh machine: the environment is made once, and again when its requirements change.

VENV ?= .venv
PYTHON ?= $(shell for name in python3.11 python3; do "$$name" -c "" 2>/dev/null && echo "$$name" && break; done)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two test processes with a thread each: more threads than cores slow each other down.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint acceptance clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(READY) ## make the virtual environment

demo: $(READY) ## train, evaluate and predict on data_samples, minutes on a CPU
	@$(BIN)/medseg demo

test: $(READY) ## run the tests
	@$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY) ## check style, types and the layers of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile

acceptance: $(READY) ## make the long measurements
	@status=0; for script in acceptance check_runs check_batch check_autoencoders check_gate check_estimate check_starts; do $(BIN)/python scripts/$$script.py || status=1; done; exit $$status

clean: ## remove the environment, caches and build outputs; runs are kept
	rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find pipeline scripts tests data_samples -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@"$(or $(PYTHON),python3)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Expected Python 3.11 or newer; found $$("$(or $(PYTHON),python3)" --version 2>&1 | head -n 1)." \
	    "Install python3.11, or name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Making $(VENV) (minutes, once) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
