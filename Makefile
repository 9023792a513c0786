# make setup | demo | test | test-all | check | bench | docs
SHELL := /bin/bash
PY := .venv/bin/python
.PHONY: setup demo test test-slow test-all check bench docs

setup: .venv/.ready

# constraints.txt says why torch is pinned.
.venv/.ready: pyproject.toml constraints.txt
	@for p in python3 python3.13 python3.12 python3.11; do \
	  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$p; break; fi; done; \
	if [ -z "$$found" ]; then echo "augmint needs Python 3.11 or newer"; exit 1; fi; \
	[ -x $(PY) ] || $$found -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "ready: source .venv/bin/activate, then augmint --help"

demo: setup  ## the main job on real handwriting; ends with the path of the report
	.venv/bin/augmint demo

test: setup  ## everything but the slow tests
	$(PY) -m pytest

test-slow: setup
	$(PY) -m pytest -m slow

test-all: test test-slow

check: setup  ## format, lint, types, import directions, frozen names
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m pytest tests/test_names.py

bench: setup  ## every claim against its peers; tables go to benchmarks/results/
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(PY) $$script; done

docs: setup  ## write docs/reference.md from the settings
	$(PY) docs/reference.py
