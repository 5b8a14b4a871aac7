# Every target sets up all it needs itself: a .venv, by uv if it is there, else by venv and pip.

SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
CONTAINERS_STAMP := $(VENV)/.installed-containers
ONLY ?=
ARGS ?=
SECONDS ?= 60
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help demo up test lint types corpus simulate chaos containers bench clean

help: ## what there is
	@sed -n 's/^\([a-z]*\):[^#]*## /make \1: /p' $(MAKEFILE_LIST)

$(STAMP): setup.cfg pyproject.toml
	@set -e; \
	found=; \
	for name in python3.13 python3.12 python3.11 python3 python; do \
	    if $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then found=$$name; break; fi; \
	done; \
	if command -v uv >/dev/null 2>&1; then \
	    [ -x $(PYTHON) ] || uv venv --quiet --python "$${found:-3.12}" $(VENV); \
	    uv pip install --quiet --python $(PYTHON) -e '.[test]'; \
	else \
	    if [ -z "$$found" ]; then echo "Python 3.11, 3.12 or 3.13 is needed (or uv, which fetches one)" >&2; exit 1; fi; \
	    [ -x $(PYTHON) ] || $$found -m venv $(VENV); \
	    $(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[test]'; \
	fi; \
	touch $@

$(CONTAINERS_STAMP): $(STAMP)
	@if command -v uv >/dev/null 2>&1; then \
	    uv pip install --quiet --python $(PYTHON) -e '.[test,containers]'; \
	else \
	    $(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[test,containers]'; \
	fi
	@touch $@

demo: $(STAMP) ## two small projects on three workers, the whole way over HTTP
	@$(PYTHON) examples/demo.py

up: $(STAMP) ## a cluster and the HTTP service on 127.0.0.1:8080, until Ctrl-C
	@$(VENV)/bin/testring up $(ARGS)

test: $(STAMP) ## the tests (ARGS="tests/proto -k frames" for some)
	@$(PYTHON) -m pytest $(ARGS)

lint: $(STAMP) ## ruff, the import contracts
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(VENV)/bin/lint-imports --config setup.cfg

types: $(STAMP) ## mypy, strict on proto and node/core
	@$(PYTHON) -m mypy

corpus: $(STAMP) ## real projects against plain pytest (ONLY=name for one)
	@$(PYTHON) -m tests.real.corpus $(if $(ONLY),--only $(ONLY)) $(ARGS)

containers: $(CONTAINERS_STAMP) ## images, compose, faults, Swarm, manifests: needs docker (PYTHON_VERSION, ARGS)
	@$(PYTHON) -m pytest -m containers tests/containers $(ARGS)

chaos: $(STAMP) ## a cluster at work while its nodes are killed, stopped and cut off (SECONDS=300 SEED=n)
	@$(PYTHON) -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

simulate: $(STAMP) ## clusters under faults in virtual time (ARGS="--seeds 2000", --seed N for a story)
	@$(PYTHON) -m tests.simulation $(or $(ARGS),--seeds 50000)

bench: $(STAMP) ## wall times against pytest and pytest-xdist, streams, HTTP
	@$(PYTHON) -m bench $(ARGS)

clean: ## the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
