# Every target but help and clean first sets up what it needs, and does so only once.
.DEFAULT_GOAL := help
.PHONY: help setup requirements programs docs demo run soak bench bench-quick check test test-long reset clean
PYTHON := .venv/bin/python
# Each process has servers of its own; three, since tests of outages and leases mostly wait.
PARALLEL := -n 3 --dist loadfile
IMPORTS := PYTHONPATH=. .venv/bin/lint-imports --no-logo

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Python 3.13 in .venv, packages, Azurite; nothing if all is there
	@sh local/setup.sh

# For the deployed app's Python and system, wherever this runs.
requirements: COMPILE = $(PYTHON) -m uv pip compile --quiet --python-version 3.13 --python-platform linux \
	--custom-compile-command "make requirements" $(ARGS)
requirements: setup ## Write the requirements files from pyproject.toml's groups; pins stay as they are (ARGS=--upgrade: newer ones)
	@$(COMPILE) --group app --output-file requirements.txt
	@$(COMPILE) --group dev --constraints requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) --group bench --constraints requirements-dev.txt --output-file benchmarks/requirements.txt

# Servers and tools that only tests and benchmarks need; without them the demo, too, has servers of its own.
programs:
	@sh local/setup-programs.sh

docs: setup ## Write the tables of docs/ that are made from the code and from the last results of the benchmarks
	@$(PYTHON) -m local.docs
	@$(PYTHON) -m local.limits_page
	@$(PYTHON) -m benchmarks --page

demo: setup ## Run the whole system on real photographs and prove that nothing was lost (ARGS=--chaos kills it in between, ARGS=--stay keeps the status page up)
	@$(PYTHON) -m local.demo $(ARGS)

run: setup ## Run the whole system until Ctrl-C; a new archive every minute (ARGS="--every 20", ARGS=--quiet)
	@$(PYTHON) -m local.run $(ARGS)

soak: setup ## Run the whole system for 5 minutes while everything goes wrong, and prove that nothing was lost (ARGS="--minutes 60")
	@$(PYTHON) -m local.soak $(ARGS)

bench: setup programs ## Measure copying, preprocessing, writing and reading beside their peers (20 minutes; ARGS="--only jpeg-12mp")
	@sh benchmarks/setup.sh
	@$(PYTHON) -m benchmarks $(ARGS)

bench-quick: setup programs ## The same once at a small size, to see that it works: no times are judged or kept (2 minutes)
	@sh benchmarks/setup.sh
	@$(PYTHON) -m benchmarks --quick $(ARGS)

check: setup ## The fast part of the tests: lint, types, imports, unit tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .
	$(IMPORTS)
	$(PYTHON) -m pytest -q $(PARALLEL) tests/unit

test: setup programs ## All tests: lint, types, imports, unit, contract (real servers), end to end
	@sh infra/setup-checkov.sh
	@$(PYTHON) -m tests.tools.kusto
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .
	$(IMPORTS)
	$(PYTHON) -m pytest $(PARALLEL)

test-long: setup programs ## The tests that take minutes by themselves, which `make test` leaves out
	$(PYTHON) -m pytest $(PARALLEL) -m long

reset: setup ## Forget what runs here have kept: archives, results, logs; it asks first (ARGS="--yes --own": no question, your own servers' results too)
	@$(PYTHON) -m local.reset $(ARGS)

clean: ## Remove all that set-up, demo and tests have made here
	rm -rf .local .venv .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
