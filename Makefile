# Every target but help and clean first sets up what it needs, and does so only once.
.DEFAULT_GOAL := help
.PHONY: help setup requirements programs docs demo run soak bench bench-quick check test test-long reset clean
PYTHON := .venv/bin/python
# Each process has servers of its own. Three processes, because tests of outages and leases mostly wait.
PARALLEL := -n 3 --dist loadfile
IMPORTS := PYTHONPATH=. .venv/bin/lint-imports --no-logo

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install Python 3.13 in .venv, packages and Azurite, unless they are installed
	@sh local/setup.sh

# For the deployed app's Python and system, wherever this runs.
requirements: COMPILE = $(PYTHON) -m uv pip compile --quiet --python-version 3.13 --python-platform linux \
	--custom-compile-command "make requirements" $(ARGS)
requirements: setup ## Write the requirements files from pyproject.toml's groups; pins stay as they are (ARGS=--upgrade: newer ones)
	@$(COMPILE) --group app --output-file requirements.txt
	@$(COMPILE) --group dev --constraints requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) --group bench --constraints requirements-dev.txt --output-file benchmarks/requirements.txt

# Installs servers and tools that only tests and benchmarks need; without them the demo uses servers in Python.
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

bench: setup programs ## Measure copying, preprocessing, writing and reading, and compare with other tools (20 minutes; ARGS="--only jpeg-12mp")
	@sh benchmarks/setup.sh
	@$(PYTHON) -m benchmarks $(ARGS)

bench-quick: setup programs ## Run each benchmark once at a small size, to check that it works; times are neither judged nor kept (2 minutes)
	@sh benchmarks/setup.sh
	@$(PYTHON) -m benchmarks --quick $(ARGS)

check: setup ## Run the fast tests: lint, types, imports, unit tests
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .
	$(IMPORTS)
	$(PYTHON) -m pytest -q $(PARALLEL) tests/unit

test: setup programs ## Run all tests but the long ones: lint, types, imports, unit, contract (real servers), end to end
	@sh infra/setup-checkov.sh
	@$(PYTHON) -m tests.tools.kusto
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy .
	$(IMPORTS)
	$(PYTHON) -m pytest $(PARALLEL)

test-long: setup programs ## Run the long tests, which `make test` does not run
	$(PYTHON) -m pytest $(PARALLEL) -m long

reset: setup ## Delete the archives, results and logs of earlier runs; it asks first (ARGS="--yes --own": no question, your own servers' results too)
	@$(PYTHON) -m local.reset $(ARGS)

clean: ## Delete everything that set-up, demo and tests have created here
	rm -rf .local .venv .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
