# The verbs of this repository. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help run demo test soak bench lint fmt generate testbed seed migrate audit

CARGO ?= cargo
# Always the whole workspace and one profile: another selection unifies features differently and builds everything again.
BUILD := $(CARGO) build --locked --workspace --bins
# Where cargo puts executables.
TARGET = $(or $(CARGO_TARGET_DIR),target)/debug
# Where `make run` looks for Ollama before it starts the testbed's. OLLAMA=none runs without one.
OLLAMA_BASE_URL ?= http://localhost:11434
# What `make test` and `make soak` run: tests with this in their names; empty: all of them.
TESTS ?=
# More for `paddock run`, as in `make run ARGS="--operator --context kind-kind"`.
ARGS ?=

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | while IFS=$$'\t' read -r verb what; do printf '  %-10s %s\n' "$$verb" "$$what"; done

run: ## Build and run Paddock on SQLite, with the testbed's Ollama where none answers (OLLAMA=none: without)
	@$(BUILD)
	@if [ "$(OLLAMA)" = none ] || curl -fsS -m 2 -o /dev/null "$(OLLAMA_BASE_URL)/api/version" 2>/dev/null; then \
	  exec $(TARGET)/paddock run $(ARGS); \
	else \
	  tests/testbed/install ollama models; \
	  exec $(TARGET)/paddock-tests exec --only ollama --export -- $(TARGET)/paddock run --try-model smollm2:135m $(ARGS); \
	fi

demo: ## Run Paddock and its operator beside a real control plane, apply examples/quickstart and chat with the key it issues
	@$(BUILD)
	@tests/testbed/install kubernetes ollama models
	@exec $(TARGET)/paddock-tests demo

test: testbed ## Run every test against real servers
	@$(CARGO) build --locked --workspace --bins --tests
	@$(TARGET)/paddock-tests exec -- $(CARGO) test --locked --workspace --no-fail-fast $(TESTS)

soak: testbed ## Run the tests at nightly length
	@$(CARGO) build --locked --workspace --bins --tests
	@PADDOCK_SOAK=1 $(TARGET)/paddock-tests exec -- $(CARGO) test --locked --workspace --no-fail-fast $(TESTS)

bench: ## Measure what Paddock costs beside named peers; writes target/bench/report.{json,md}; ARGS="--only login,writes"
	@tests/testbed/install nginx postgres wrk
	@$(BUILD) --release
	@$(or $(CARGO_TARGET_DIR),target)/release/paddock-bench $(ARGS)

lint: ## Check formatting, and let clippy find what it can
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

fmt: ## Format every source
	@$(CARGO) fmt --all

generate: ## Make the generated files again: CRD YAML and openapi.json
	@$(BUILD)
	@$(TARGET)/paddock crds > crds/yaml/paddock.dev.yaml
	@$(TARGET)/paddock openapi > api/openapi.json

testbed: ## Install the real servers that the tests use, once
	@tests/testbed/install

migrate: ## Bring the database of DATABASE_URL to this version's schema
	@$(BUILD)
	@$(TARGET)/paddock migrate

seed: ## Make sure that the database of DATABASE_URL has an admin
	@$(BUILD)
	@$(TARGET)/paddock seed

audit: ## Check dependencies: licences, advisories, sources (installs cargo-deny)
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	@$(CARGO) deny check
