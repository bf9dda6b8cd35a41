# Verbs only; what takes more than five lines is a script.
SHELL := /bin/sh
.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Hundreds of child processes would each compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help docs setup setup-dev ui demo up down test lint types frontend unit integration faults gateway \
        e2e fuzz bench proto client-types dashboards check-proto lock format clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what running needs into .venv
	@scripts/bootstrap.sh run

setup-dev: ## Install what developing and testing needs into .venv
	@scripts/bootstrap.sh dev

ui: setup ## Build the admin UI, if anything of it changed
	@scripts/ui.sh

demo: setup ## Run the main job on a real model, from import to lineage, and stop
	@scripts/ui.sh --or-go-on
	@mlx-hub demo

up: setup ## Start the hub in the background; returns once everything serves
	@scripts/ui.sh --or-go-on
	@mlx-hub up --detach

down: ## Stop the hub
	@mlx-hub down

test: setup-dev ## Pass every check and every test
	@$(MAKE) --no-print-directory -j2 lint types frontend
	@$(MAKE) --no-print-directory unit integration faults gateway e2e fuzz

lint: setup-dev ## Style, layers, contract and generated code
	@scripts/lint.sh

types: setup-dev ## mypy, strict
	@mypy

frontend: setup-dev ui ## The admin UI: its types, its components, what it weighs
	@scripts/frontend.sh

unit: setup-dev ## Seconds: domain, messages, scheduling, contract, repository rules
	@pytest tests/unit -n auto --maxprocesses 4

integration: setup-dev ## Real Postgres, real servers, real child processes
	@pytest tests/integration -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

faults: setup-dev ## Kill, stop and starve training at every edge; nothing may be lost or doubled
	@pytest tests/faults -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder

gateway: setup-dev ## Real Envoy in front of stub services
	@pytest tests/gateway -n auto --maxprocesses 2 --dist loadfile

e2e: setup-dev ## Every process with the real small model
	@pytest tests/e2e -n auto --maxprocesses 2 --dist loadfile --no-loadscope-reorder

fuzz: setup-dev ## Requests made from the contract, valid and not, by gRPC and REST; N=20000 sends more
	@MLX_HUB_FUZZ_CASES=$(or $(N),2000) pytest tests/fuzz -n auto --maxprocesses 2 --dist loadfile

bench: setup-dev ## Measure serving, training and inference beside their peers, the registry, memory over jobs
	@python -m bench.serving
	@python -m bench.training
	@python -m bench.registry
	@python -m bench.gateway
	@python -m bench.soak
	@python -m bench.inference

proto: setup-dev ## Format and lint proto/, regenerate the stubs and what is made of them
	@buf format -w && buf lint && python scripts/generate_stubs.py && python scripts/generate_api.py docs/api.md
	@python -m scripts.generate_errors docs/errors.md
	@python -m scripts.generate_openapi gateway/openapi.json

docs: setup-dev ## Regenerate docs/cli.md and docs/metrics.md
	@python scripts/generate_cli.py docs/cli.md
	@python -m scripts.generate_metrics docs/metrics.md

client-types: setup-dev ## Regenerate frontend/src/api/schema.d.ts from gateway/openapi.json
	@scripts/client_types.sh

dashboards: setup-dev ## Regenerate deploy/grafana/dashboards from deploy/grafana
	@python -m deploy.grafana deploy/grafana/dashboards

check-proto: setup-dev ## Fail when stubs, formatting or compatibility are off
	@scripts/check_proto.sh

format: setup-dev ## Format Python and proto files
	@ruff check --quiet --fix && ruff format --quiet && buf format -w

lock: setup-dev ## Refresh the lock files
	@scripts/lock.sh

clean: ## Remove the environment and caches
	@rm -rf .venv .cache frontend/node_modules frontend/.next frontend/out gateway/ui .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
