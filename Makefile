# Two commands matter: `make demo` and `make test`. Each sets up all it needs in .venv from the lock files.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The first interpreter that fits; override with `make PYTHON=/path/to/python3.12 …`.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
# Most tests wait for a peer and not for the processor; `make WORKERS=0 test` runs them one after the other.
WORKERS ?= 3
SPREAD = --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
# Debian packages whose programs the tests call as peers.
PEERS := sip-tester baresip-core libportaudio2 asterisk-core-sounds-en-wav espeak-ng postgresql-15 kamailio kamailio-tls-modules nftables iproute2 tshark pgbouncer chromium prometheus

# Its CLI is asked whether it can push beside us; npm brings the program itself.
SUPABASE := supabase@3.1.0
SUPABASE_DIR := $(HOME)/.cache/sipua/supabase

# The environment of the tests on our own build of pjsua2, and the name in any environment of the build that is in it.
VENV_OWN := .venv-pjsua2
OWN := $(VENV)/.pjsua2
# requirements.lock as it is to be installed: where our build has taken its place, PyPI's must not come back beside it
# (both provide `import pjsua2`, and PyPI's wins without a word).
LOCK := $(VENV)/.requirements.lock
MAKE_LOCK = if [ -e $(OWN) ]; then sed '/^pjsua2-python==/,/^[^ ]/{/^pjsua2-python==/d;/^ /d}'; else cat; fi <requirements.lock >$(LOCK)

.PHONY: help demo test test-pjsua2 check format peers pjsua2 pjsua2-wheel lock clean

help:
	@echo "make demo    one phone call to the agent and back, offline, on this machine"
	@echo "make test    all tests, real SIP peers included where they are or may be installed"
	@echo "make check   ruff, mypy --strict"
	@echo "make pjsua2  build the pjsua2 for production (1,024 calls, OpenSSL 3) and use it from now on"
	@echo "make pjsua2-wheel   back to the one of PyPI (4 calls)"
	@echo "make test-pjsua2    the SIP tests on our build, in an environment of its own"
	@echo "make lock    resolve pyproject.toml into the lock files anew"
	@echo "make clean   remove what these commands made (but what is cached in ~/.cache/sipua)"

demo: $(VENV)/.runtime
	$(BIN)/sipua demo --dir .sipua/demo

# The tests start thousands of processes of ours: 0.2 s less each, even where Python may not write bytecode by itself.
COMPILE = -m compileall -q sipua rtp storage

test: $(VENV)/.dev peers
	@$(BIN)/python $(COMPILE)
	$(BIN)/python -m pytest $(SPREAD)

test-pjsua2: peers
	@$(MAKE) --no-print-directory VENV=$(VENV_OWN) pjsua2 $(VENV_OWN)/.dev
	@$(VENV_OWN)/bin/python $(COMPILE)
	PJSUA2_BUILD=own $(VENV_OWN)/bin/python -m pytest $(SPREAD) tests/pjsua2 tests/peers tests/test_demo.py

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
	@$(MAKE_LOCK)
	$(PIP) install --require-hashes -r $(LOCK)
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime tests/requirements.lock
	@$(MAKE_LOCK)
	$(PIP) install --require-hashes -r $(LOCK) -r tests/requirements.lock
	@touch $@

# Each run asks Debian's archive for the version that is there now; a build that is cached takes seconds.
pjsua2: $(VENV)/.runtime
	@wheel=$$(conf/deploy/pjsua2/build.sh $(BIN)/python) \
		&& basename "$$wheel" >$(OWN) \
		&& $(PIP) --quiet uninstall --yes pjsua2-python \
		&& $(PIP) install --no-index --no-deps "$$wheel"
	@$(BIN)/sipua version

pjsua2-wheel: $(VENV)/.runtime
	@rm -f $(OWN)
	@$(PIP) --quiet uninstall --yes pjsua2
	@$(MAKE_LOCK)
	$(PIP) install --require-hashes -r $(LOCK)
	@$(BIN)/sipua version

# The servers that Debian's kamailio, pgbouncer and prometheus start are none of ours: the tests start their own.
# Never fails: what is missing is skipped by the tests with a word on what to install (and fails there with CI=true).
peers:
	@if [ ! -e $(SUPABASE_DIR)/node_modules/.bin/supabase ] && command -v npm >/dev/null; then mkdir -p $(SUPABASE_DIR) \
		&& npm install --prefix $(SUPABASE_DIR) --ignore-scripts --no-audit --no-fund --fetch-retries 1 --silent $(SUPABASE) >/dev/null 2>&1 \
		|| echo "npm could not install $(SUPABASE): its test will be skipped"; fi
	@missing=""; for p in $(PEERS); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then as=""; elif sudo -n true 2>/dev/null; then as="sudo -n"; else \
		echo "not root: tests that need$$missing will be skipped (apt-get install$$missing)"; exit 0; fi; \
	echo "installing$$missing"; \
	$$as apt-get -qq update && $$as env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing >/dev/null \
		|| echo "apt-get could not install$$missing: their tests will be skipped"; \
	for p in kamailio pgbouncer prometheus; do case "$$missing" in *" $$p"*) \
		[ ! -d /run/systemd/system ] || $$as systemctl --quiet disable --now $$p.service || true;; esac; done

lock: $(VENV)/.dev
	$(PIP) install --target $(VENV)/.uv --upgrade uv
	$(VENV)/.uv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header \
		pyproject.toml --group build -o requirements.lock
	$(VENV)/.uv/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 --no-header \
		--group dev -c requirements.lock -o tests/requirements.lock

clean:
	rm -rf .sipua $(VENV) $(VENV_OWN) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
