# One command each: install, run, demo, test, chaos, e2e, bench, scale, check. Each sets up what it needs first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := collector alerts dashboards reports web demo migrations vllm_plugin tests llm_slo.py

.DEFAULT_GOAL := help
.PHONY: help install run demo test chaos e2e bench bench-alerts scale check servers alertmanager promtool format

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(STAMP) ## Make .venv, with the llm-slo command in it

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "llm-slo needs Python 3.11 to 3.13; say which: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@echo "installing into $(VENV): a minute or two the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --disable-pip-version-check --quiet --requirement requirements.lock
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: install ## The daemon on an embedded Postgres (CONFIG=llm-slo.yaml)
	$(BIN)/llm-slo up $(if $(CONFIG),--config $(CONFIG))

demo: install ## The daemon watching a real vLLM with real traffic
	$(BIN)/llm-slo demo run

test: install servers check ## All tests that need no vLLM, the failure suite's short form among them
	$(BIN)/python -m pytest -m "not e2e"

# A failing round prints its seed: CHAOS_SEED=… make chaos is that round again.
chaos: install servers alertmanager ## The failure suite's long form: each fault by itself, at random, under load
	CHAOS_FORM=long $(BIN)/python -m pytest -m chaos tests/chaos

e2e: install alertmanager promtool ## Tests with a real vLLM, a real Alertmanager and Prometheus' own checks
	$(BIN)/python -m pytest -m e2e -p no:randomly

bench: install ## Ratios against a floor, measured in one run
	$(BIN)/python -m tests.bench

scale: install ## How long reads over 90 days of 100 million requests take; needs 6 GB of disk and some minutes
	$(BIN)/python -m tests.scale

bench-alerts: install ## Pages: false ones a month and delays, simulated (a quarter of an hour)
	$(BIN)/python -m tests.simulation.bench

check: install ## Fast checks: lint, types, floors, migrations, golden files
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not e2e" -k "migration or golden"

# The store's tests also run against another major version of Postgres than the embedded one.
servers:
	@test -x /usr/lib/postgresql/15/bin/postgres || { \
		command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
			|| { echo "make test needs PostgreSQL 15's server: apt-get install postgresql-15, as root" >&2; exit 1; }; \
		echo "installing postgresql-15"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql-15 >/dev/null; }

# Not started as a service: the tests start their own, on loopback.
alertmanager:
	@command -v prometheus-alertmanager >/dev/null || { \
		command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
			|| { echo "make e2e needs Alertmanager: apt-get install prometheus-alertmanager, as root" >&2; exit 1; }; \
		echo "installing prometheus-alertmanager"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends prometheus-alertmanager >/dev/null; }

# The package brings a service with it: it is not started, for only its promtool is wanted.
promtool:
	@command -v promtool >/dev/null || { \
		command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
			|| { echo "make e2e needs promtool: apt-get install prometheus, as root" >&2; exit 1; }; \
		echo "installing prometheus"; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install -y --no-install-recommends prometheus >/dev/null; }

format: install ## Put the sources into their one form
	$(BIN)/ruff check --fix-only --quiet $(PACKAGES)
	$(BIN)/ruff format $(PACKAGES)
