# Longtake's commands; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The first interpreter that runs and is new enough: a version manager's shim may exist and still fail.
PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
	"$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo "$$candidate" && break; done; true)
BIN := .venv/bin
STAMP := .venv/.installed

# Clients that can't live beside our own packages; pyproject.toml says why.
FOREIGN := tests/conformance/foreign
CLIENTS := aimlapi-sdk-python google-genai-2 langchain-aimlapi lunos-client
# Django 6 wants Python 3.12: ours, or another one of this machine. Without one its tests are reported as not run.
DJANGO_PYTHON ?= $(shell for candidate in $(BIN)/python python3.14 python3.13 python3.12; do \
	"$$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1 \
	&& echo "$$candidate" && break; done; true)
DJANGOS := django-backport django-6
JUDGES := .venv/judges
PROMETHEUS := .venv/prometheus
JUDGES_STAMP := $(JUDGES)/.installed
NPM = PATH="$(CURDIR)/$(JUDGES)/lunos-client/bin:$$PATH" npm

# The browser's tests and what they bring, in an environment of their own.
PAGES := .venv/pages
PAGES_STAMP := $(PAGES)/.installed
BROWSER := $(or $(LONGTAKE_BROWSER),/usr/bin/chromium)

# `check` runs from the quickest to the slowest.
.NOTPARALLEL:

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' \
		| while IFS=$$'\t' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, with venv: PYTHON=/path/to/python3 make"; exit 1; }
	@echo "Installing what requirements.lock pins into .venv"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --require-hashes \
		--requirement <(sed -n '/^uv==/,/[^\\]$$/p' requirements.lock)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(JUDGES_STAMP): $(patsubst %,$(FOREIGN)/%.lock,$(CLIENTS) $(DJANGOS)) $(addprefix $(FOREIGN)/,package.json package-lock.json .npmrc) | $(STAMP)
	@echo "Installing the clients that need an environment of their own into $(JUDGES)"
	@rm -rf $(JUDGES)
	@for client in $(CLIENTS) django-backport; do \
		$(BIN)/uv venv --quiet --python $(BIN)/python $(JUDGES)/$$client; \
		$(BIN)/uv pip sync --quiet --python $(JUDGES)/$$client/bin/python --require-hashes $(FOREIGN)/$$client.lock; \
	done
	@if test -n "$(DJANGO_PYTHON)"; then \
		$(BIN)/uv venv --quiet --python "$(DJANGO_PYTHON)" $(JUDGES)/django-6; \
		$(BIN)/uv pip sync --quiet --python $(JUDGES)/django-6/bin/python --require-hashes $(FOREIGN)/django-6.lock; \
	fi
	@cp $(FOREIGN)/{package.json,package-lock.json,.npmrc} $(JUDGES)/lunos-client
	@cd $(JUDGES)/lunos-client && $(NPM) ci --loglevel=error >/dev/null
	@touch $@

.PHONY: install
install: $(STAMP) $(JUDGES_STAMP) ## Make .venv with everything the lock files pin

# Prometheus and promtool: this machine's, or those of Debian's package, unpacked here and not installed.
$(PROMETHEUS)/.made:
	@mkdir -p $(PROMETHEUS)
	@command -v prometheus promtool >/dev/null || { cd $(PROMETHEUS) && \
		{ apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && \
		dpkg -x prometheus_*.deb . && rm -f prometheus_*.deb; } >/dev/null 2>&1 \
		|| echo "There is no Prometheus here: its tests are reported as not run"
	@touch $@

.PHONY: observe
observe: $(STAMP) $(PROMETHEUS)/.made ## Run the demo under a real Prometheus: every panel has data, alerts fire
	$(BIN)/python -m tests.observe.live

.PHONY: dashboards
dashboards: $(STAMP) ## Write observe/grafana/dashboards from tests/observe/panels.py
	$(BIN)/python -m tests.observe.dashboards

.PHONY: demo
demo: $(STAMP) ## Run real prompts through every model on a local stack, start to finish
	$(BIN)/longtake demo

.PHONY: up
up: $(STAMP) ## Keep the local stack running: API 8000, Flower 5555, simulator 8100
	$(BIN)/longtake up --simulate

# Three modules at a time also on two cores: many tests wait for processes of their own.
.PHONY: test
test: $(STAMP) $(JUDGES_STAMP) $(PROMETHEUS)/.made ## Run the tests, three modules at a time
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: unit
unit: $(STAMP) ## Run the unit tests: under 30 s, no servers
	$(BIN)/python -m pytest tests/unit --numprocesses 2 --dist loadfile

.PHONY: check
check: lint types imports test ## Format, lint, types, imports, tests: CI runs it, then pages

.PHONY: format
format: $(STAMP) ## Rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: $(STAMP) ## Check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: types
types: $(STAMP) ## Check types
	$(BIN)/mypy

.PHONY: imports
imports: $(STAMP) ## Check that imports point down
	$(BIN)/lint-imports

$(PAGES_STAMP): tests/_pages/pages.lock tests/_pages/package-lock.json | $(STAMP) $(JUDGES_STAMP)
	@rm -rf $(PAGES)
	@$(BIN)/uv venv --quiet --python $(BIN)/python $(PAGES)
	@$(BIN)/uv pip sync --quiet --python $(PAGES)/bin/python --require-hashes tests/_pages/pages.lock
	@cp tests/_pages/{package.json,package-lock.json,.npmrc} $(PAGES)
	@cd $(PAGES) && $(NPM) ci --loglevel=error >/dev/null
	@touch $@

# Chromium, or a clear error.
.PHONY: browser
browser:
	@test -x "$(BROWSER)" || { \
		test -z "$(LONGTAKE_BROWSER)" && test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& echo "Installing Chromium by package" && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	} || true
	@test -x "$(BROWSER)" || { echo "There is no browser at $(BROWSER): install Debian's package chromium as root, or name another Chromium in LONGTAKE_BROWSER" >&2; exit 1; }

.PHONY: pages
pages: $(PAGES_STAMP) browser ## Drive the pages with a headless browser (LONGTAKE_BROWSER=); pictures go to var/pages
	LONGTAKE_BROWSER="$(BROWSER)" $(PAGES)/bin/python -m pytest -q -c tests/_pages/pytest.ini --rootdir tests/_pages tests/_pages

.PHONY: pictures
pictures: $(PAGES_STAMP) browser ## Update the README's pictures in docs/pictures
	LONGTAKE_KEEP_PICTURES=1 LONGTAKE_BROWSER="$(BROWSER)" $(PAGES)/bin/python -m pytest -q -c tests/_pages/pytest.ini --rootdir tests/_pages tests/_pages/test_readme.py

.PHONY: chaos
chaos: $(STAMP) ## Kill, drop and flush at random, then check every promise (JOBS=, PACE=, SEED=, BROKER=rabbitmq, SIEGES=, RESIDENTS=off)
	$(BIN)/python -m pytest tests/faults/test_chaos.py -m "" \
		--chaos-jobs $(or $(JOBS),1000) --chaos-pace $(or $(PACE),4) --chaos-broker $(or $(BROKER),valkey) \
		--chaos-sieges $(or $(SIEGES),all) --chaos-residents $(or $(RESIDENTS),on) $(if $(SEED),--chaos-seed $(SEED))

.PHONY: faults
faults: $(STAMP) $(JUDGES_STAMP) ## The other fault tests: a kill at each named point, outages, frozen workers
	$(BIN)/python -m pytest tests/faults -m "" --deselect tests/faults/test_chaos.py

.PHONY: proofs
proofs: $(STAMP) ## Show that each proof fails in the old tree by its own assertion, and passes now
	$(BIN)/python -m tests.proofs

.PHONY: features
features: $(STAMP) ## Write docs/features.md and the README's table from tests/features.toml
	$(BIN)/python -m tests.features

.PHONY: bench
bench: $(STAMP) ## Measure against peers and against the limit
	$(BIN)/python -m benchmarks

.PHONY: bench-against
bench-against: $(STAMP) ## Compare this tree's speed with another commit's (REF=, ROUNDS=, NAMES=)
	$(BIN)/python -m benchmarks.against $(or $(REF),HEAD) $(NAMES) --rounds $(or $(ROUNDS),5)

.PHONY: profile
profile: $(STAMP) ## Profile a test or a benchmark (RUN="-m pytest tests/unit/scheduler")
	$(BIN)/python -m cProfile --sort cumulative $(or $(RUN),-m pytest tests/unit -q) | sed -n 1,70p

.PHONY: lock
lock: $(STAMP) $(JUDGES_STAMP) ## Pin every dependency again, with hashes
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11.2 --extra local --group dev \
		--generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	@for client in $(CLIENTS) $(DJANGOS); do \
		$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11.2 --group $$client \
			--generate-hashes --no-emit-index-url --no-emit-find-links \
			--custom-compile-command "make lock" --output-file $(FOREIGN)/$$client.lock; \
	done
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11.2 \
		--generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --output-file tests/_pages/pages.lock tests/_pages/pages.in
	@cd tests/_pages && $(NPM) update --package-lock-only --loglevel=error >/dev/null
	@cd $(FOREIGN) && $(NPM) update --package-lock-only --loglevel=error >/dev/null

.PHONY: sbom
sbom: $(STAMP) ## Write sbom.cdx.json from requirements.lock
	$(BIN)/python -m tests.supply.sbom

.PHONY: audit
audit: $(STAMP) ## Ask for known vulnerabilities of what the lock pins; "not checked" where nobody answers
	$(BIN)/python -m tests.supply.audit

.PHONY: pin-images
pin-images: $(STAMP) ## Pin the images of the Compose files and the Dockerfile to their digests
	$(BIN)/python -m tests.supply.images

.PHONY: clean
clean: ## Remove .venv and every cache
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
