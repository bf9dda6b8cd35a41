# Verbs only; what takes more than five lines is a script.
SHELL := /bin/sh
.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help docs setup setup-dev demo up down test lint types unit integration faults gateway e2e fuzz \
        bench proto client-types check-proto lock format clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what running needs into .venv
	@scripts/bootstrap.sh run

setup-dev: ## Install what developing and testing needs into .venv
	@scripts/bootstrap.sh dev

demo: setup ## Run the main job on a real model, from import to lineage, and stop
	@mlx-hub demo

up: setup ## Start the hub in the background; returns once everything serves
	@mlx-hub up --detach

down: ## Stop the hub
	@mlx-hub down

test: setup-dev lint types unit integration faults gateway e2e fuzz ## Pass every check and every test

lint: setup-dev ## Style, layers, contract and generated code
	@scripts/lint.sh

types: setup-dev ## mypy, strict
	@mypy

unit: setup-dev ## Seconds: domain, messages, scheduling, contract, repository rules
	@pytest tests/unit -n auto --maxprocesses 4

integration: setup-dev ## Real Postgres, real servers, real child processes
	@pytest tests/integration -n auto --maxprocesses 4 --dist loadfile

faults: setup-dev ## Kill, stop and starve training at every edge; nothing may be lost or doubled
	@pytest tests/faults -n auto --maxprocesses 2 --dist loadfile

gateway: setup-dev ## Real Envoy in front of stub services
	@pytest tests/gateway

e2e: setup-dev ## Every process with the real small model
	@pytest tests/e2e

fuzz: setup-dev ## Requests made from the contract, valid and not, by gRPC and REST; N=20000 sends more
	@MLX_HUB_FUZZ_CASES=$(or $(N),2000) pytest tests/fuzz

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

check-proto: setup-dev ## Fail when stubs, formatting or compatibility are off
	@scripts/check_proto.sh

format: setup-dev ## Format Python and proto files
	@ruff check --quiet --fix && ruff format --quiet && buf format -w

lock: setup-dev ## Refresh the lock files
	@scripts/lock.sh

clean: ## Remove the environment and caches
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
