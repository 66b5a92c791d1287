# make reproduce: the table of Bahdanau 2014 on the built-in corpus.   make test: the test suite.
# Each does its own set-up in .venv; PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: setup reproduce test

reproduce: setup
	$(RUN) -m experiments.bahdanau2014 --table --resume

test: setup
	$(RUN) -m pytest -n 2

setup: $(VENV)/ready

$(VENV)/ready: requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON) here; install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old, 3.11 is needed; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; install it (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -r requirements.txt
	@touch $@
