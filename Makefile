# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests. `make` lists the rest.
#
# RocksDB is C++ and takes 14 to 25 minutes to compile on two cores, once. What would compile it again is held still
# here: one profile (--release), one set of features (--workspace), one libclang, no RUSTFLAGS; ccache where it is there.
SHELL := /bin/bash
TOOLS := $(or $(UPM_TOOLS),$(HOME)/.cache/upm-ledger/tools)
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
PREFIX ?= $(HOME)/.local

export UPM_TOOLS := $(TOOLS)
export NATS_SERVER ?= $(TOOLS)/nats-server-2.15.1
export NATS_PY := $(TOOLS)/nats-py-2.16.0
export COSIGN ?= $(shell command -v cosign || echo $(TOOLS)/cosign-3.1.3)
export LIBCLANG_PATH := $(TOOLS)/libclang-18.1.1
export BINDGEN_EXTRA_CLANG_ARGS := -I$(shell c++ -print-file-name=include)
ifneq ($(shell command -v ccache),)
export CC := ccache cc
export CXX := ccache c++
endif
export PATH := $(TOOLS)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup build verifier install demo serve test interop soak fuzz bench bench-grow bench-kpis bench-latency bench-views bench-tessera check docs policy clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and serving need (libclang, nats-server), below ~/.cache/upm-ledger/tools
	@scripts/setup build serve

build: setup ## compile everything; leaves `upm` and `upm-verify` in the target directory's release/
	@[ -e $(TARGET)/release/upm ] || echo "build: the first build compiles RocksDB (C++): 14 to 25 minutes on two cores, once" >&2
	cargo build --release --workspace --locked

verifier: ## upm-verify alone, without a C++ compiler: one static file (Linux; once: rustup target add MACHINE-unknown-linux-musl)
	cargo build --profile verifier --locked -p upm-evidence --bin upm-verify --target $(shell uname -m)-unknown-linux-musl
	@ls -l $(TARGET)/$(shell uname -m)-unknown-linux-musl/verifier/upm-verify

install: build ## put upm, upm-verify and nats-server into PREFIX/bin (default ~/.local)
	install -d $(PREFIX)/bin
	install -m 755 $(TARGET)/release/upm $(TARGET)/release/upm-verify $(PREFIX)/bin/
	install -m 755 $(NATS_SERVER) $(PREFIX)/bin/nats-server
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) echo "install: add $(PREFIX)/bin to your PATH" ;; esac

demo: build ## the main job: one change through all five phases, packed, verified, tampered with, and a crash survived; then one by workers, on an AWS API, taken back
	@scripts/setup cloud
	@UPM=$(TARGET)/release/upm UPM_VERIFY=$(TARGET)/release/upm-verify scripts/demo
	@UPM=$(TARGET)/release/upm UPM_VERIFY=$(TARGET)/release/upm-verify scripts/demo-workers

serve: build ## run a ledger in ./upm-data until Ctrl-C
	$(TARGET)/release/upm serve --data upm-data

test: build ## all tests that must always pass (they run the built programs)
	@scripts/setup test cloud
	cargo test --release --workspace --locked

interop: build ## judges that are not ours (cosign, in-toto, OpenSSL, unzip, Tessera's fsck, torchwood, OPA, chromium, a Kubernetes API server, OpenTofu): all of them, and it fails where one is missing
	@scripts/setup interop
	cargo test --release --workspace --locked --test suite interop:: -- --include-ignored

soak: build ## the long tests: many more crashes and seeds, a minute of each fuzz target, and what an event costs as the log grows
	@scripts/setup test fuzz
	CARGO_TARGET_DIR=$(TARGET) scripts/soak

fuzz: ## fuzz the parsers of what strangers hand us, an hour each, without compiling RocksDB (SECONDS=3600)
	@scripts/setup fuzz
	CARGO_TARGET_DIR=$(TARGET) SECONDS_EACH=$(or $(SECONDS),3600) scripts/fuzz

bench: build ## the budget by thread, with and without nats-server, for 1 tenant and for 1,000; drain against a bare read; answers over HTTP; KPIs of a made-up year; packs and populations made and verified; changes through all phases (EVENTS=300000)
	$(TARGET)/release/upm-bench drain --events $(or $(EVENTS),300000)
	$(TARGET)/release/upm-bench drain --events $(or $(EVENTS),300000) --tenants 1000 --rounds 1
	$(TARGET)/release/upm-bench grow --events $(or $(EVENTS),300000)
	$(TARGET)/release/upm-bench grow --events $(or $(EVENTS),300000) --tenants 1000
	$(TARGET)/release/upm-bench views --events $(or $(EVENTS),300000)
	$(TARGET)/release/upm-bench kpis --events $(or $(EVENTS),300000)
	$(TARGET)/release/upm-bench pack
	$(TARGET)/release/upm-bench population --headers $(or $(EVENTS),300000)
	$(TARGET)/release/upm-bench work

bench-grow: build ## what an event costs as the log grows, without nats-server; proofs, fsck, rebuild (EVENTS=1000000)
	$(TARGET)/release/upm-bench grow --events $(or $(EVENTS),1000000)

bench-kpis: build ## a made-up year into the views, then KPIs of 90 days and a year by day, in process and over HTTP; checked against its truth (EVENTS=600000)
	$(TARGET)/release/upm-bench kpis --events $(or $(EVENTS),600000)

bench-latency: build ## publish to receipt at a given load, beside the disk's own fsync (RATE=10000)
	$(TARGET)/release/upm-bench latency --rate $(or $(RATE),10000)

bench-views: build ## answers over HTTP (change, pages, figures), lag of the detail tables, rebuild of all tables (EVENTS=300000)
	$(TARGET)/release/upm-bench views --events $(or $(EVENTS),300000)

bench-tessera: build ## Tessera's POSIX log under its own load generator, and ours, on this machine (needs Go)
	@scripts/setup bench
	BENCH=$(TARGET)/release/upm-bench benches/tessera.sh

check: setup ## formatting, clippy and docs, warnings denied
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked

policy: ## dependency policy (deny.toml)
	@scripts/setup policy
	cargo deny --workspace check bans licenses sources

clean: ## remove the target directory (RocksDB compiles again afterwards)
	cargo clean
