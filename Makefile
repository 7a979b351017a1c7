# make run    create .venv, install, run the main experiment      make test   the same, then the tests
# make lint   style and types                                     make clean  remove .venv and caches, keep runs/
#
# PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment's folder, ARGS="..." adds arguments:
#   make run ARGS="seed=3 learner.lr=1e-3"      make test ARGS="tests/workbench -x"

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

# A stamp is touched when its step has succeeded, so an interrupted step is done again and a finished one is not.
created := $(VENV)/.created
installed := $(VENV)/.installed
installed_dev := $(VENV)/.installed-dev
# There while an environment is being made: one that was begun here and not finished is made anew.
begun := $(VENV)/.begun

.NOTPARALLEL:
.PHONY: run test lint clean help

help:
	@sed -n '1,5s/^# \{0,1\}//p' Makefile

run: $(installed)
	$(VENV)/bin/workbench run scenario=split-shd learner=osttp $(ARGS)

test: $(installed_dev)
	$(VENV)/bin/python -m pytest -n logical --dist worksteal $(ARGS)

lint: $(installed_dev)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(created):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or newer is needed; PYTHON=$(PYTHON) is $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "hint: name another one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "error: $(PYTHON) lacks venv or ensurepip; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@if [ -e $(begun) ]; then rm -rf $(VENV); fi; mkdir -p $(VENV); touch $(begun)
	$(PYTHON) -m venv $(VENV)
	@rm $(begun); touch $@

$(installed): $(created) pyproject.toml
	@echo "Installing into $(VENV); torch alone is large, so the first time takes some minutes."
	$(VENV)/bin/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(installed_dev): $(created) pyproject.toml
	@echo "Installing into $(VENV); torch alone is large, so the first time takes some minutes."
	$(VENV)/bin/python -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $(installed) $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find workbench learners scenarios benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
