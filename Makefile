# Every target makes the machine ready first (bootstrap.py: uv, Python 3.12, .venv, the locked packages); once that is
# done it costs next to nothing.

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-habitat check lint format bench lock clean

PYTHON3 ?= python3
BIN := .venv/bin
READY := .venv/.ready
UV = $(firstword $(wildcard .uv/bin/uv .uv/lib/bin/uv) uv)
WORKERS ?= 2
# Test workers share the cores: one thread each. Bytecode is kept, whatever the shell says: tests start hundreds of
# processes.
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
NAME ?= household

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-12s %s\n", $$1, $$2}'

PAGES := $(shell find ui_collect/pages -name node_modules -prune -o -type f -print)

$(READY): bootstrap.py pyproject.toml requirements.lock requirements-pretrained.lock $(PAGES)
	@$(PYTHON3) bootstrap.py

setup: $(READY) ## make the machine ready, nothing else

demo: $(READY) ## a teacher plays, a student learns, a table says how close it came
	@$(BIN)/flywheel demo --program planner

up: $(READY) ## everything at once: the graph, the runs, the experiments
	@$(BIN)/flywheel up

test: lint ## the whole suite
	@$(PYTHON3) bootstrap.py --tests
	@$(PYTEST)

test-habitat: lint ## the tests of the habitat scene, which may not be skipped then: FLYWHEEL_HABITAT_PYTHON names its Python
	@FLYWHEEL_DEMAND_HABITAT=1 PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/hitl_ops/worlds/habitat

check: lint ## what is quick: style, types, import directions, fast tests
	@$(PYTEST) --hypothesis-profile quick -m "not slow and not integration and not browser"

lint: $(READY) ## style, types and import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## measure: make bench NAME=household
	@$(BIN)/flywheel bench $(NAME)

# No address of a registry may get into a lock: hashes name the files, the machine names the registry.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header
lock: $(READY) ## write the locks anew from pyproject.toml
	@$(COMPILE) pyproject.toml --extra loop --extra dev --extra bench -o requirements.lock $(LOCK_ARGS)
	@$(COMPILE) --no-deps --group pyproject.toml:pretrained -o requirements-pretrained.lock $(LOCK_ARGS)

clean: ## remove the environment and every cache; keep ./data
	@rm -rf ui_collect/static ui_collect/pages/node_modules
	@rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
