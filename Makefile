# Each target does its own set-up from a bare checkout: a virtual environment with the project and its tools.

VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.made-from-pyproject

.PHONY: run walk story test check nightly bench floods generate clean help

help: ## say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[yaml,spiffe,server]' --group dev
	@touch $(STAMP)

run: $(STAMP) ## the decision point on its embedded default, with the ledger example; prints what to try
	@BIN=$(BIN) bash policies/examples/ledger/run.sh

walk: $(STAMP) ## the ledger example without a server: checked, tested, decided and explained, allowed and denied
	@BIN=$(BIN) bash policies/examples/ledger/walk.sh

story: $(STAMP) ## the ledger behind a real Envoy: allowed in its task, and in no other way
	PYTHONPATH=. $(BIN)/python -m policies.examples.ledger.story.run

test: $(STAMP) ## all tests, in a few minutes
	$(BIN)/python tools/envoy.py
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests

check: $(STAMP) ## style, types, import floors, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/floors_test.py
	$(BIN)/python tools/generate.py --check

nightly: $(STAMP) ## the laws over ten thousand generated cases each, the cache over a million steps, a soak of everything at once
	$(BIN)/python -m bench.soak --minutes 10
	PDP_TEST_STEPS=1000000 $(BIN)/python -m pytest tests/pdp/engine/cache_law_test.py
	PDP_TEST_CASES=10000 $(BIN)/python -m pytest tests/language/laws_test.py tests/language/hostile_test.py tests/pdp/wire/mutation_test.py
	PDP_TEST_CASES=10000 $(BIN)/python -m pytest tests/language/escape_law_test.py tests/language/silences_test.py
	PDP_TEST_CASES=2000 $(BIN)/python -m pytest tests/pdp/grants tests/pdp/store

bench: $(STAMP) ## speed, beside the peers, in one run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	$(BIN)/python -m bench.run

floods: $(STAMP) ## whether one caller can stop the others: each flood beside a gate that asks, in about ten minutes
	$(BIN)/python -m bench.floods

generate: $(STAMP) ## write the generated files anew
	$(BIN)/python tools/generate.py

clean: ## forget the virtual environment and caches
	rm -rf $(VENV) .venv-envoy .mypy_cache .ruff_cache .hypothesis *.egg-info
