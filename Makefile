# make reproduce: the table of Bahdanau 2014 on the built-in corpus.   make test: the test suite.
# make quick: tests of every part in a minute or two, for every edit.  make check: lint, format, types.
# Each does its own set-up in .venv; PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: setup reproduce test quick check

reproduce: setup
	$(RUN) -m experiments.bahdanau2014 --table --resume

test: setup
	$(RUN) -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

quick: setup
	$(RUN) -m pytest -n 2 --dist=loadfile --no-loadscope-reorder -m quick

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ty check --python $(VENV) attn_research experiments

setup: $(VENV)/ready

$(VENV)/ready: requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here; install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old, 3.11 is needed; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; install it (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -e '.[dev]'
	@touch $@
