# The commands of this repository. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help run ui ui-build ui-check ui-figures screenshots demo test soak fuzz bench drift lint fmt generate testbed seed migrate deny audit

CARGO ?= cargo
# Always the whole workspace and one profile. Another selection of packages unifies features
# differently, and cargo then builds every dependency again.
BUILD := $(CARGO) build --locked --workspace --bins
# Where cargo puts executables.
TARGET = $(or $(CARGO_TARGET_DIR),target)/debug
# Downloads and builds that outlive a clone. Safe to delete.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/paddock
# `make run` uses the Ollama at this URL if there is one, else the testbed's. OLLAMA=none runs without.
OLLAMA_BASE_URL ?= http://localhost:11434
# Filter of test names for `make test` and `make soak`. Empty: all tests.
TESTS ?=
# More arguments for `paddock run` and `paddock-bench`.
# Example: make run ARGS="--operator --context kind-kind"
ARGS ?=
# The release of Ollama that `make drift` compares with. Example: make drift VERSION=v0.34.0
VERSION ?=
# What the built web UI depends on, and the sum of it at the last build. A new build makes cargo embed
# the UI again, so it happens only if a source changed.
UI_SOURCES := frontend/src frontend/public frontend/build frontend/index.html frontend/vite.config.ts frontend/package-lock.json
UI_SUM := frontend/node_modules/.built-sources
# How long `make fuzz` runs each target.
SECONDS ?= 60
# The pinned cargo-deny, installed on first use.
DENY_VERSION := 0.20.2
DENY_ROOT := $(CACHE)/cargo-deny-$(DENY_VERSION)
DENY := $(DENY_ROOT)/bin/cargo-deny
# The pinned cargo-fuzz, installed on first use. RUSTC_BOOTSTRAP allows the pinned stable compiler the
# flags of the sanitizers, so that no nightly toolchain is needed.
FUZZ_VERSION := 0.13.2
FUZZ_ROOT := $(CACHE)/cargo-fuzz-$(FUZZ_VERSION)
FUZZ := $(FUZZ_ROOT)/bin/cargo-fuzz
FUZZ_ENV := RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$(CACHE)/fuzz/target"

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done

run: ## Build and run Paddock on SQLite; starts an Ollama if none answers (OLLAMA=none: without)
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory ui-build; else echo "make run: without the web UI, because Node.js is missing"; fi
	@$(BUILD)
	@if [ "$(OLLAMA)" = none ] || curl -fsS -m 2 -o /dev/null "$(OLLAMA_BASE_URL)/api/version" 2>/dev/null; then \
	  exec $(TARGET)/paddock run $(ARGS); \
	else \
	  tests/testbed/install ollama models; \
	  exec $(TARGET)/paddock-tests exec --only ollama --export -- $(TARGET)/paddock run --try-model smollm2:135m $(ARGS); \
	fi

ui-build: frontend/node_modules ## Build the web UI into frontend/dist; the next build of Paddock embeds it. Needs Node.js 20
	@sum=$$(find $(UI_SOURCES) -type f ! -name '*.gen.ts' -print0 | sort -z | xargs -0 sha256sum | sha256sum); \
	if [ ! -f frontend/dist/index.html ] || [ "$$sum" != "$$(cat $(UI_SUM) 2>/dev/null)" ]; then \
	  npm --prefix frontend run build && echo "$$sum" > $(UI_SUM); \
	fi

ui: frontend/node_modules ## Serve the web UI with reload on change, in front of the API at PADDOCK_URL=http://127.0.0.1:8080
	@npm --prefix frontend run dev

ui-check: frontend/node_modules ## Check format, types and unused code of the web UI, and test its parts
	@npm --prefix frontend run check
	@npm --prefix frontend test

ui-figures: ui-build ## Measure the web UI in Chromium: loads, frames of long lists and of a long answer, beside their budgets
	@$(BUILD)
	@tests/testbed/install chrome sqlite
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  PADDOCK_BIN=$(abspath $(TARGET))/paddock DATABASE_FILE="$$folder/paddock.db" npm --prefix frontend run figures

screenshots: ui-build ## Make the pictures of docs/pictures: every page of the web UI in light and dark
	@$(BUILD)
	@tests/testbed/install ollama models
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  PADDOCK_BIN=$(abspath $(TARGET))/paddock DATABASE_FILE="$$folder/paddock.db" \
	  $(TARGET)/paddock-tests exec --only ollama --export -- npm --prefix frontend run screenshots

frontend/node_modules: frontend/package-lock.json
	@npm --prefix frontend ci
	@touch frontend/node_modules

demo: ## Run Paddock with a real Kubernetes control plane, apply examples/quickstart, chat with the issued key
	@$(BUILD)
	@tests/testbed/install kubernetes ollama models
	@exec $(TARGET)/paddock-tests demo

test: testbed ui-build ## Run every test against real servers (TESTS=name: only these)
	@$(CARGO) build --locked --workspace --bins --tests
	@$(TARGET)/paddock-tests exec -- $(CARGO) test --locked --workspace --no-fail-fast $(TESTS)

soak: testbed ui-build ## Run the tests with more iterations and clients, for a nightly job
	@tests/testbed/install llama-index
	@$(CARGO) build --locked --workspace --bins --tests
	@PADDOCK_SOAK=1 $(TARGET)/paddock-tests exec -- $(CARGO) test --locked --workspace --no-fail-fast $(TESTS)

fuzz: $(FUZZ) ## Run each fuzz target for SECONDS=60
	@for crate in accounts ollama; do \
	  for corpus in "$$crate"/fuzz/corpus/*; do \
	    target=$$(basename "$$corpus"); \
	    found="$(CACHE)/fuzz/$$target"; \
	    mkdir -p "$$found"; \
	    (cd "$$crate" && $(FUZZ_ENV) $(FUZZ) fuzz run "$$target" "$$found" "fuzz/corpus/$$target" -- -max_total_time=$(SECONDS)); \
	  done; \
	done

$(FUZZ):
	env -u CARGO_TARGET_DIR $(CARGO) install --locked --version $(FUZZ_VERSION) --root $(FUZZ_ROOT) cargo-fuzz

bench: ## Benchmark Paddock; writes target/bench/report.{json,md} (ARGS="--only gateway,streams")
	@tests/testbed/install kubernetes nginx postgres wrk fastapi litellm
	@$(BUILD) --release
	@$(or $(CARGO_TARGET_DIR),target)/release/paddock-bench $(ARGS)

drift: ## Find what a release of Ollama has and Paddock does not know (VERSION=v0.34.0)
	@[ -n "$(VERSION)" ] || { echo "make drift: name a release of Ollama: make drift VERSION=v0.34.0" >&2; exit 1; }
	@$(BUILD)
	@go -C tests/drift build -o "$(abspath $(TARGET))/paddock-drift" .
	@$(TARGET)/paddock-tests ollama-tables | $(TARGET)/paddock-drift $(VERSION)

lint: ## Check formatting, clippy and that no source files import each other
	@$(CARGO) fmt --all --check
	@if command -v go >/dev/null; then tests/drift/check; else echo "make lint: tests/drift is not checked, because Go is missing"; fi
	@python3 -B -m unittest discover -q -s tests/lint
	@python3 -B tests/lint/import_cycles.py
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

fmt: ## Format the sources
	@$(CARGO) fmt --all
	@if command -v gofmt >/dev/null; then gofmt -w tests/drift; fi

generate: ## Regenerate the CRD YAML, openapi.json and what is made of them
	@$(BUILD)
	@$(TARGET)/paddock crds > crds/yaml/paddock.dev.yaml
	@$(TARGET)/paddock openapi > api/openapi.json
	@$(MAKE) --no-print-directory frontend/node_modules
	@npm --prefix frontend run generate
	@tests/testbed/install helm
	@PADDOCK_TESTBED_HELM=$$(tests/testbed/install --print-env | sed -n 's/^PADDOCK_TESTBED_HELM=//p') tests/deploy/chart --update

testbed: ## Install the real servers that the tests use, once
	@tests/testbed/install

migrate: ## Migrate the database of DATABASE_URL to this version's schema
	@$(BUILD)
	@$(TARGET)/paddock migrate

seed: ## Make sure that the database of DATABASE_URL has an admin
	@$(BUILD)
	@$(TARGET)/paddock seed

deny: $(DENY) ## Check the licences and sources of dependencies, and that none is banned
	@$(DENY) --locked check --hide-inclusion-graph bans licenses sources

audit: deny ## The same, then look for security advisories; needs access to github.com
	@$(DENY) fetch db || { echo "make audit: advisories are not checked, because their database cannot be downloaded"; exit 1; }
	@$(DENY) --locked check --disable-fetch advisories

# Without CARGO_TARGET_DIR cargo builds in a temporary folder and removes it.
$(DENY):
	env -u CARGO_TARGET_DIR $(CARGO) install --locked --version $(DENY_VERSION) --root $(DENY_ROOT) cargo-deny
