# Set-up and everyday commands. Needs Python 3.11 to 3.14, make and git; everything else lands in .venv.
# Another interpreter: make demo PYTHON=python3.12

VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
ARGS ?=
WORKERS ?= 2
MINUTES ?= 10

# The first interpreter on the path that the pinned versions cover.
COVERED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$name -c '$(COVERED)' >/dev/null 2>&1 && echo $$name && break; done)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint style types check docs bench soak lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed-base ## settle the sample village under seven market rules, show the page (ARGS="--homes 20")
	$(BIN)/wattle try $(ARGS)

test: $(VENV)/installed-dev ## everything that must hold: style, types, tests, documentation
	@$(MAKE) --no-print-directory style types check docs
	@echo "== all checks passed"

lint: style types ## style and types only

style: $(VENV)/installed-dev
	@echo "== style"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	@echo "== types (slow the first time only)"
	$(BIN)/mypy

check: $(VENV)/installed-dev ## the tests only (ARGS="tests/unit -k auction")
	@echo "== tests"
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

docs: $(VENV)/installed-dev ## build the documentation into site/
	@echo "== documentation"
	$(BIN)/zensical build --clean --strict
	@! grep -rnE '<(script|img|iframe|source)[^>]* src="?(https?:)?//|<link[^>]* rel="?(stylesheet|pre)[^>]*//' site \
		--include='*.html' || { echo "the pages above would fetch something from elsewhere"; exit 1; }

bench: $(VENV)/installed-dev ## measure speed, print a table
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/installed-dev ## the generated tests again and again with new seeds (MINUTES=10)
	@end=$$(( $$(date +%s) + 60 * $(MINUTES) )); while [ $$(date +%s) -lt $$end ]; do \
		seed=$$(date +%s); echo "== seed $$seed"; \
		$(BIN)/python -m pytest -q -n $(WORKERS) -m hypothesis --hypothesis-seed=$$seed $(ARGS) || exit 1; \
	done

lock: ## choose and pin versions anew from pyproject.toml (needs the network; KEEP=1 changes as little as possible)
	PYTHON="$(PYTHON)" KEEP="$(KEEP)" tools/lock

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) site build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: each stamp is remade when what it was made from is newer ---

PIP := $(BIN)/python -m pip --disable-pip-version-check install
PINNED := $(PIP) --require-hashes --only-binary :all: --requirement
ITSELF := $(PIP) --quiet --no-index --no-deps --no-build-isolation --editable .
FACTS := pyproject.toml src/wattle/version.py

$(VENV)/pinned-base: requirements/base.txt $(VENV)/made
	@echo "== installing pinned packages (about 500 MB on disk; a minute or two the first time)"
	$(PINNED) requirements/base.txt
	@touch $@

$(VENV)/pinned-dev: requirements/dev.txt $(VENV)/made
	@echo "== installing pinned packages for development (about 1.1 GB on disk; some minutes the first time)"
	$(PINNED) requirements/dev.txt
	@touch $@

$(VENV)/installed-base: $(VENV)/pinned-base $(FACTS)
	$(ITSELF)
	@touch $@

$(VENV)/installed-dev: $(VENV)/pinned-dev $(FACTS)
	$(ITSELF)
	@touch $@

# An environment does not survive a move or a copy of its folder; then it is made anew.
ifneq ($(wildcard $(VENV)/made),)
ifneq ($(shell cat $(VENV)/made),$(CURDIR))
.PHONY: $(VENV)/made
endif
endif

$(VENV)/made:
	@$(or $(PYTHON),false) -c '$(COVERED)' 2>/dev/null || { \
		echo "wattle needs Python 3.11, 3.12, 3.13 or 3.14; $(if $(PYTHON),$(PYTHON) is,the path has) none of these."; \
		echo "If one is installed under another name, say so:  make PYTHON=/path/to/python3.12 ..."; exit 1; } >&2
	@echo "== making $(VENV) with $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(if $(wildcard $@),--clear) $(VENV)
	@echo "$(CURDIR)" >$@
