# Everything a developer or a new user runs. Needs a Debian or Ubuntu machine with root, Rust, Go and make; installs all else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

include e2e/cluster/cluster.mk

HOST := $(shell rustc -vV | sed -n 's/^host: //p')
PROGRAMS := target/$(HOST)/release
TOOLS := $(KEYLEND_CACHE)/tools
CARGO_DENY_VERSION := 0.20.2
CARGO_FUZZ_VERSION := 0.13.2
SECONDS ?= 10

.PHONY: help check test test-fast test-cluster test-demo demo benchmark mutants fuzz generate programs peers tools

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

check: tools ## Format, lints, dependency rules, licences, generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(TOOLS)/bin/cargo-deny --locked check bans licenses sources
	scripts/dependency-rules
	scripts/generated-files
	cd e2e/peers && test -z "$$(gofmt -l .)" && go vet ./...
	cd e2e/cluster && test -z "$$(gofmt -l .)" && go vet ./...

test: cluster-tools ## Every test, on this machine and on a real cluster
	@# The fast tests wait most of the time; the programs are built meanwhile.
	$(MAKE) --jobs=2 test-fast programs peers
	$(MAKE) cluster-test
	$(MAKE) test-cluster
	$(MAKE) test-demo

test-fast: cluster-tools ## The tests that need no node: they have etcd and an API server alone
	KEYLEND_CACHE=$(KEYLEND_CACHE) cargo test --workspace --exclude keylend-e2e --exclude keylend-fuzz --locked
	cd e2e/peers && go test ./...

test-cluster: cluster-tools programs peers ## The promises, on a real cluster that is brought up and taken down
	scripts/test-cluster

test-demo: cluster-tools programs peers ## The demo, and that it notices a step that does not hold
	scripts/test-demo

demo: cluster-tools programs peers ## The story of one lent credential, checked step by step (KEEP=1 leaves the cluster)
	scripts/demo

mutants: cluster-tools programs peers ## Take away one protection at a time and demand a red test (ONLY="NAME..." for some)
	scripts/mutants

fuzz: ## Run each fuzz target for SECONDS (10)
	@$(TOOLS)/bin/cargo-fuzz --version 2>/dev/null | grep -qF $(CARGO_FUZZ_VERSION) || \
		cargo install --quiet --locked cargo-fuzz --version $(CARGO_FUZZ_VERSION) --root $(TOOLS)
	PATH=$(TOOLS)/bin:$$PATH scripts/fuzz $(SECONDS)

benchmark: cluster-tools programs peers ## What a call costs, beside nginx and beside the direct call; sizes, memory, start (NAME, KEEP=1)
	scripts/benchmark

programs: ## Build the static programs that the images hold (needs Rust and a C compiler alone)
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target $(HOST) \
		-p keylend-operator -p keylend-sidecar -p kubectl-keylend

peers: cluster-packages ## Build the apps and upstreams of the tests
	mkdir -p .build && cd e2e/peers && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../.build/keylend-peers .

generate: ## Write what is generated: resource definitions from the Rust types, the list of mutants
	scripts/mutants list >mutants/README.md
	cargo run --quiet --locked -p keylend-crds --bin crdgen crds
	cp crds/*.yaml charts/keylend/files/crds/

tools: cluster-packages ## Install the pinned tools of `make check`
	@$(TOOLS)/bin/cargo-deny --version 2>/dev/null | grep -qF $(CARGO_DENY_VERSION) || \
		cargo install --quiet --locked cargo-deny --version $(CARGO_DENY_VERSION) --root $(TOOLS)
