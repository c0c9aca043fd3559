# One command each for the things one does here; `make help` lists them.
#
#   VENV=dir      the virtual environment to use and, when missing, to create
#   PYTHON=path   the interpreter to create it with (default: the first on PATH that is 3.11 or newer)
#   PORT=8000     where `make demo` listens
#   ARGS="..."    passed on by `make test`, `make soak` and `make bench`

VENV ?= .venv
PORT ?= 8000
ARGS ?=

BIN := $(VENV)/bin
PINS := pyproject.toml constraints.txt tools/install
CODE := $(wildcard src tests examples benchmarks tools/*.py)
TYPED := $(wildcard src tests examples benchmarks)

export PYTHON
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check format soak bench docs pins clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-$(if $(filter postgres%,$(DATABASE_URL)),postgres,runtime) ## Serve the example shop on http://localhost:8000 (PORT=... DATABASE_URL=...)
	@PYTHONPATH=examples exec $(BIN)/trivet dev shop.app:app --port $(PORT)

test: $(VENV)/.stamp-dev ## Run the whole test suite (ARGS="tests/core -k naming")
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

check: $(VENV)/.stamp-dev ## Check format, lint, types and the floors; changes nothing
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(TYPED)
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/.stamp-dev ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

soak: $(VENV)/.stamp-dev ## Serve mixed load for minutes and see that nothing grows (ARGS="--server envoy --minutes 10")
	@PYTHONPATH=.:examples $(BIN)/python -m tests.soak.replicas
	@PYTHONPATH=.:examples $(BIN)/python -m tests.soak $(ARGS)

bench: $(VENV)/.stamp-bench ## Measure Trivet beside its peers
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.stamp-docs ## Build the documentation into site/
	@$(BIN)/zensical build --clean --strict

pins: $(VENV)/.stamp-dev ## Resolve pyproject.toml anew into constraints.txt (ARGS=--upgrade)
	@test -x $(BIN)/uv || $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	@$(BIN)/uv pip compile pyproject.toml --group dev --group bench --group docs --group generators --group installers \
		--python-version 3.11 --no-header --no-annotate --quiet --output-file constraints.txt $(ARGS)
	@for folder in tests/conformance tests/graphql/node tests/rpc/node benchmarks/graphql_node benchmarks/rpc_node \
		tools/graphiql_node; do $(BIN)/python tools/node.py lock $$folder || exit; done
	@$(BIN)/python tools/graphiql.py

clean: ## Remove what was built or cached, but not the environment
	rm -rf build dist site .hypothesis .schemathesis .import_linter_cache
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache
	find $(TYPED) -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per kind of use, all in one environment, so that the demo does not wait for the test tools.
# Each depends on what decides the versions; when that changes, the next command installs again.
$(VENV)/.stamp-runtime: $(PINS)
	@tools/install $(VENV)
	@touch $@

$(VENV)/.stamp-%: $(PINS)
	@tools/install $(VENV) $*
	@touch $@ $(VENV)/.stamp-runtime
