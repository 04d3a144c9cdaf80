# Two commands matter: `make demo` and `make test`. Each sets up all it needs in .venv from the lock files.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The first interpreter that fits; override with `make PYTHON=/path/to/python3.12 …`.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
# Debian packages whose programs the tests call as peers.
PEERS := sip-tester baresip-core asterisk-core-sounds-en-wav espeak-ng postgresql-15

.PHONY: help demo test check format peers lock clean

help:
	@echo "make demo    one phone call to the agent and back, offline, on this machine"
	@echo "make test    all tests, real SIP peers included where they are or may be installed"
	@echo "make check   ruff, mypy --strict"
	@echo "make lock    resolve pyproject.toml into the lock files anew"
	@echo "make clean   remove what these commands made"

demo: $(VENV)/.runtime
	$(BIN)/sipua demo --dir .sipua/demo

test: $(VENV)/.dev peers
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "sipua needs Python 3.11 or 3.12: install it (Debian 12: apt-get install python3 python3-venv)" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$(PYTHON) lacks the venv module: install it (Debian: apt-get install python3-venv)" >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)

# With --require-hashes nothing is installed that is not in the lock file; the checkout itself needs no download.
$(VENV)/.runtime: $(VENV)/bin/python requirements.lock pyproject.toml
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime tests/requirements.lock
	$(PIP) install --require-hashes -r requirements.lock -r tests/requirements.lock
	@touch $@

# Never fails: what is missing is skipped by the tests with a word on what to install (and fails there with CI=true).
peers:
	@missing=""; for p in $(PEERS); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo -n"; else \
		echo "not root: tests that need$$missing will be skipped (apt-get install$$missing)"; exit 0; fi; \
	echo "installing$$missing"; \
	$$as apt-get -qq update && $$as env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing >/dev/null \
		|| echo "apt-get could not install$$missing: their tests will be skipped"

lock: $(VENV)/.dev
	$(PIP) install --target $(VENV)/.uv --upgrade uv
	$(VENV)/.uv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header \
		pyproject.toml --group build -o requirements.lock
	$(VENV)/.uv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header \
		--group dev -c requirements.lock -o tests/requirements.lock

clean:
	rm -rf .sipua $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
