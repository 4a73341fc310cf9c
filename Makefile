# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-all lint format docs figures picture clean

help: ## say what each target does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/.installed-demo ## make the environment if need be and serve the demo on 127.0.0.1:7860
	@$(BIN)/calcinosis demo

# In as many processes as there are cores, each with one thread (tests/conftest.py); a file's tests stay together.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

test: $(VENV)/.installed-dev ## make the environment with the development extra and run the quick tests
	@$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-dev ## run the others: notebooks, browser, several processes, kill and resume
	@$(PYTEST) -m slow

test-all: test test-slow ## run all tests

lint: $(VENV)/.installed-dev ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@rm -rf build/types && mkdir -p build/types/calcinosis
	@ln -s $(foreach room,__init__.py __main__.py,$(CURDIR)/calcinosis/$(room)) $(foreach room,bulk cli common data model page training,$(CURDIR)/$(room)) build/types/calcinosis
	@$(BIN)/mypy

format: $(VENV)/.installed-dev ## let ruff put the code in order
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## build the documentation into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

figures: $(VENV)/.installed-dev ## put the shipped checkpoint's figures into the README
	@$(BIN)/python -m docs.figures

picture: $(VENV)/.installed-dev ## take the README's picture of the page again; needs chromium
	@$(BIN)/python -m docs.picture

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) .versions build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@echo "Making the environment in $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "calcinosis needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV)

# One marker for each set of extras, so that `make demo` never waits for PyTorch.
$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	@echo "Installing calcinosis with what the page needs (450 MB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing calcinosis with the development extra (PyTorch is large: a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed-demo
