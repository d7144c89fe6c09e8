# make run     everything on this machine, with an embedded PostgreSQL and Valkey
# make check   format, lint, types, layers, migrations, unit and architecture tests (under a minute)
# make test    unit, architecture, contract, integration and process tests
# make e2e     the story in Chromium          make screenshots   docs/images
# make kills   SIGKILL at seeded moments      make survive       rolls, waking, nights: in real time
# make reword  words every message of the catalogue anew in a copy, and runs the tests on it
# make docs    docs/openapi.json and the table of settings in docs/engines.md anew, from the code
# make bench   idle_pass, list_page, bodies_and_chunks and bench-gateway: the figures of benchmarks/
# make bench-gateway   the gateway beside nginx and vllm-router; BENCH="--quick" or BENCH="--profile"
# make lock    pin requirements/*.txt anew    make clean         remove .venv and build/ (never var/)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
.DEFAULT_GOAL := help
.PHONY: help run check test e2e kills fuzz survive reword bench bench-gateway docs screenshots lock clean

help:
	@sed -n 's/^# //p' Makefile

run: $(VENV)/base.installed
	@exec $(BIN)/python manage.py up

check: $(VENV)/dev.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/djangofmt --check templates
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -q -n 2 tests/unit tests/architecture

test: $(VENV)/dev.installed
	$(PYTEST) -q -n 3 --dist loadscope -m "not processes and not browser and not kills and not survive"
	$(PYTEST) -q -m "processes and not kills" tests/e2e

e2e: $(VENV)/dev.installed
	$(PYTEST) -q -n 2 --dist loadscope -m browser tests/e2e/browser

kills: $(VENV)/dev.installed
	$(PYTEST) -q -m kills tests/e2e

fuzz: $(VENV)/dev.installed
	FUZZ_SECONDS=$${FUZZ_SECONDS:-600} $(PYTEST) -q tests/unit/gateway/http/test_against_llhttp.py

survive: $(VENV)/dev.installed
	$(PYTEST) -q -m survive tests/e2e/test_night.py
	$(PYTEST) -q -n 2 --dist loadscope -m survive tests/e2e --ignore tests/e2e/test_night.py

reword: $(VENV)/dev.installed
	copy=$$(mktemp -d) && git archive HEAD | tar -x -C $$copy && cd $$copy && \
	  $(abspath $(BIN))/python -m tests.tools.reword_messages . && \
	  $(abspath $(BIN))/python -m pytest -q -n 2 --dist loadscope tests/unit tests/integration tests/contract \
	    --ignore tests/unit/deployments/test_messages.py

bench: $(VENV)/dev.installed
	$(BIN)/python -m benchmarks.idle_pass
	$(BIN)/python -m benchmarks.list_page
	$(BIN)/python -m benchmarks.bodies_and_chunks
	$(MAKE) bench-gateway

bench-gateway: $(VENV)/dev.installed
	$(BIN)/python -m benchmarks.gateway $(BENCH)

docs: $(VENV)/dev.installed
	$(BIN)/python manage.py write_openapi
	$(BIN)/python manage.py write_settings_table

screenshots: $(VENV)/dev.installed
	$(BIN)/python -m tests.e2e.browser.screenshots

lock:
	$(BIN)/pip-compile -q --strip-extras --no-annotate --no-header --no-emit-find-links --no-emit-index-url -o requirements/base.txt pyproject.toml
	$(BIN)/pip-compile -q --strip-extras --no-annotate --no-header --no-emit-find-links --no-emit-index-url --extra dev -c requirements/base.txt -o requirements/dev.txt pyproject.toml

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Models Console needs Python 3.11 or newer: $(PYTHON) was not found (set PYTHON=…)."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Models Console needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1). Set PYTHON=…"; exit 1; }
	@echo "Creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python cannot create a virtual environment here; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/%.installed: requirements/%.txt | $(BIN)/python
	@$(BIN)/python requirements/install.py $<
	@touch $@
