# From nothing but Python 3.11, pip and make: `make demo` and `make test` set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
OLD := Weighbridge needs Python 3.11 or later; try `make PYTHON=python3.11`
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --require-hashes --only-binary :all:
WORKERS ?= auto
ONLY := $(if $(filter 1,$(FULL)),,-m "not full")
READY := .venv/.machine $(if $(filter 1,$(FULL)),.venv/.full)

.PHONY: help setup demo test check fmt lint types contracts house mutants lock profiles bench bench-% fuzz clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z%-]+:.*## ' Makefile | sed -E 's/^([a-z%-]+):.*## /  \1\t/' | expand -t 14
setup: $(READY) ## make .venv ready for work (FULL=1 adds real libraries)
demo: .venv/.run ## the whole line on real models: what is refused and why
	$(BIN)/weighbridge demo
test: $(READY) lint types contracts ## everything that must hold (FULL=1 adds torch and foreign verifiers)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations=25 --durations-min=5 $(ONLY)
check: lint types contracts house ## what needs no long tests
fmt: .venv/.check ## format the code, write the command reference again
	$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/python tools/cli_reference.py
lint: .venv/.check
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: .venv/.check
	$(BIN)/mypy
contracts: .venv/.check ## who may import whom
	$(BIN)/lint-imports --no-logo
house: .venv/.check ## sizes, names, docs, schemas, locks
	$(BIN)/pytest tests/house
mutants: .venv/.check ## remove each condition of what decides; a test must fail each time
	$(BIN)/python tools/mutants.py
bench: .venv/.check ## measure, on this machine
	$(BIN)/python benchmarks/run.py
bench-%: .venv/.check ## measure one thing, benchmarks/%.py: bench-scan beside four peers (installed into .cache/peers), bench-trust beside model_signing (8 GiB under .cache; ARGS="--unit 64" takes less), bench-claims, bench-log …
	$(BIN)/python benchmarks/$*.py $(ARGS)
fuzz: .venv/.check ## change files until a reader breaks: ten minutes for the six readers that matter most, one for the others
	$(BIN)/python tools/fuzz.py
lock: .venv/.lock ## write requirements/*.txt again (UPGRADE=1 moves every pin)
	$(BIN)/python tools/lock.py
profiles: .venv/.check ## derive the library profiles again from the pinned wheels
	$(BIN)/python tools/derive_profiles.py --fetch
clean: ## remove what make made here
	rm -rf .venv .demo build mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/.run: requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("$(OLD)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv && $(LOCKED) -r requirements/run.txt && $(PIP) --no-deps --no-build-isolation -e . && touch $@
.venv/.check: .venv/.run requirements/check.txt
	$(LOCKED) -r requirements/check.txt && touch $@
.venv/.machine: .venv/.check setup.py $(wildcard src/weighbridge/formats/pickle_*.py)
	$(BIN)/python setup.py --quiet build_ext --inplace && touch $@
.venv/.services: .venv/.check requirements/services.txt
	$(PYTHON) -m venv .venv/services && .venv/services/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/services.txt && touch $@
.venv/.full: .venv/.check .venv/.services requirements/full.txt tools/fit_torch.py tests/full/published.json tests/full/js/package-lock.json tests/full/azurite/package-lock.json tools/fetch_opa.py
	$(BIN)/python tools/fit_torch.py && $(LOCKED) -r requirements/full.txt && $(BIN)/python tools/fetch_published.py && $(BIN)/python tools/fetch_clients.py && $(BIN)/python tools/fetch_opa.py && touch $@
.venv/.lock: .venv/.check requirements/lock.txt
	$(LOCKED) -r requirements/lock.txt && touch $@
