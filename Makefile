# Each target sets up all it needs itself, in .venv: Python 3.11 or newer, git and make are enough.

PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo up test lint types corpus bench clean

$(STAMP): setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found"; exit 1; }
	@if command -v uv >/dev/null; then \
		uv venv -q --clear --python "$(PYTHON)" .venv && uv pip install -q --python $(BIN)/python -e '.[test]'; \
	else \
		"$(PYTHON)" -m venv --clear .venv && $(BIN)/python -m pip install -q -e '.[test]'; \
	fi
	@touch $@

demo: $(STAMP)  ## run the example project on three workers and show its grades
	$(BIN)/python examples/demo.py

up: $(STAMP)  ## a cluster of three workers and the API on 127.0.0.1:8080 until Ctrl-C
	$(BIN)/testring up --workers 3

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

test: $(STAMP) lint types  ## everything but the corpus
	$(BIN)/python -m pytest

corpus: $(STAMP)  ## real projects, compared outcome by outcome with plain pytest: make corpus ONLY=click
	$(BIN)/python -m tests.real.corpus $(ONLY)

bench: $(STAMP)
	$(BIN)/python -m bench

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info
