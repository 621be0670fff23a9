# `make` lists the targets. Everything is built with one profile and in one folder outside the checkout, so that a
# machine compiles DuckDB once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export SMALL_ETL_CACHE ?= $(HOME)/.cache/small-etl
export CARGO_TARGET_DIR ?= $(SMALL_ETL_CACHE)/target
# Tells build.rs which checkout is being built.
export ETL_CHECKOUT := $(CURDIR)
# DuckDB is a million lines of C++. What was compiled once is kept, even when this program is upgraded.
ifneq ($(origin CXX),environment)
export CXX := ccache g++
endif

# pyenv takes longer to find Python than Python takes to start, and scripts and tests start it hundreds of times.
ifneq ($(findstring /shims/,$(shell command -v python3)),)
export PATH := $(dir $(shell python3 -c 'import sys; print(sys.executable)')):$(PATH)
endif

EMULATOR := $(SMALL_ETL_CACHE)/aws-lambda-rie
EMULATOR_RELEASE := 1.170.0
SAM := $(SMALL_ETL_CACHE)/sam-$(shell sed -n 's/^aws-sam-cli==//p' .ci/sam-requirements.txt)
MDBOOK := $(SMALL_ETL_CACHE)/mdbook-0.5.4
RELEASE_TOOLS := $(SMALL_ETL_CACHE)/release-tools-$(shell sed -n 's/^cyclonedx-python-lib==//p' .ci/release-requirements.txt)
CONTRACT_TOOLS := $(SMALL_ETL_CACHE)/contract-tools-$(shell sed -n 's/^frictionless==//p' .ci/contract-requirements.txt)
MOTO := $(SMALL_ETL_CACHE)/moto-$(shell sed -n 's/^moto==//p' .ci/moto-requirements.txt)
CARGO := .ci/with-progress cargo
LOCKED := --locked
# For what measures the speed of our own code, which is compiled without optimisation otherwise.
OPTIMISED := --config profile.dev.package.small-etl.opt-level=2
# What `check-binaries` builds.
PROGRAMS := ingest migrate

.PHONY: help setup build programs schemas demo invoke sam-invoke check-sam-invoke test check-deploy terraform check-terraform torture scale bench bench-parts check-instructions lint format check-format check-template check-binaries check-host-binary check-windows check-images deploy rollback destroy smoke redrive cost dist rds-certificates check-dist check-workflows check-crates check unit site pictures prune

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(EMULATOR) $(MOTO) ## Install or find what the other targets need
	@.ci/install-packages

$(EMULATOR):
	@.ci/install-packages
	@echo "==> fetching the Lambda runtime emulator (from the wheel of aws-sam-cli $(EMULATOR_RELEASE)) to $@"
	@.ci/fetch-emulator $(EMULATOR_RELEASE) $@

$(MOTO): .ci/moto-requirements.txt
	@.ci/install-packages
	@echo "==> installing moto (an emulator of S3, SQS, CloudFormation and others, for the tests) to $@"
	@.ci/install-moto $@

$(CONTRACT_TOOLS): .ci/contract-requirements.txt
	@.ci/install-packages
	@echo "==> installing what the tests check schemas and contracts with (taplo, frictionless, the Open Data Contract Standard) to $@"
	@.ci/install-contract-tools $@

prune: ## Delete from the cache what other versions left there
	@.ci/prune $(SAM) $(MDBOOK) $(RELEASE_TOOLS) $(CONTRACT_TOOLS) $(MOTO)

build: setup ## Build the programs, and put small-etl into $(SMALL_ETL_CACHE)/bin
	@test -d $(CARGO_TARGET_DIR)/debug || echo "==> the first build compiles DuckDB and a few hundred crates, which takes about three quarters of an hour on two cores"
	$(CARGO) build $(LOCKED) $(OPTIMISED) --bins
	@mkdir -p $(SMALL_ETL_CACHE)/bin
	@cp -f $(CARGO_TARGET_DIR)/debug/small-etl $(SMALL_ETL_CACHE)/bin/

programs: setup ## Build the programs and examples without optimising our own code, as demo and tests do
	@test -d $(CARGO_TARGET_DIR)/debug || echo "==> the first build compiles DuckDB and a few hundred crates, which takes about forty minutes on two cores"
	$(CARGO) build $(LOCKED) --bins --examples

demo: programs ## Run the main job on real components; KEEP=1 leaves them running
	@cargo run $(LOCKED) --quiet --example demo

schemas: programs ## Write schemas/, by which editors check definitions and settings, anew from the types
	@for of in dataset settings; do $(CARGO_TARGET_DIR)/debug/small-etl schema $$of > schemas/$$of.schema.json; done

invoke: programs ## Send EVENT (a file in events/) to ingest on local servers
	@cargo run $(LOCKED) --quiet --example invoke -- $(EVENT)

sam-invoke: programs $(SAM) ## Send EVENT with `sam local invoke` to a container made from this machine's own files (needs Docker)
	@cargo run $(LOCKED) --quiet --example invoke -- --sam $(EVENT)

check-sam-invoke: setup $(SAM) ## Send every event to ingest with `sam local invoke`, as sam-invoke does (needs Docker)
	SAM_INVOKE=1 $(CARGO) test $(LOCKED) --test it events::

test: setup $(SAM) $(RELEASE_TOOLS) $(CONTRACT_TOOLS) ## Run all tests on a real Postgres and a real S3 server; DATABASE_URL may name a server to use instead
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(getconf _NPROCESSORS_ONLN) + 1))} $(CARGO) test $(LOCKED) # one more, since many tests wait

check-deploy: setup $(SAM) ## Deploy every set of parameters to an emulator, with the real sam
	DEPLOY_SETS=all $(CARGO) test $(LOCKED) --test it deploy::

terraform: $(SAM) ## Write deploy/terraform, a module of Terraform, anew from template.yaml
	@.ci/terraform

check-terraform: setup $(SAM) ## Make a stack with the module of Terraform in an emulator (needs terraform and its provider aws)
	$(CARGO) test $(LOCKED) --test it terraform:: -- --include-ignored

torture: setup ## Kill and cut workers, undo loads and mend rejects at random for MINUTES each (default 5), from SEED (default: random), and check the result
	TORTURE_MINUTES=$${MINUTES:-5} TORTURE_SEED=$${SEED:-} $(CARGO) test $(LOCKED) --test it -- --nocapture --test-threads 1 --exact \
		torture::whatever_happens_the_end_is_that_of_one_quiet_run torture_modes::whatever_happens_every_mode_ends_as_its_model_says \
		mend_model::whatever_comes_in_whatever_order_the_rejects_that_nobody_has_mended_are_open \
		undo_model::whatever_is_undone_in_whatever_order_the_others_count_as_if_it_had_never_come

scale: setup ## Generate a ledger of SCALE (default 1: 5 million loads, 100 million rows) and a tenth of it, and compare what operations cost
	SCALE=$${SCALE:-} $(CARGO) test $(LOCKED) --test it -- --nocapture --ignored --exact scale::an_operation_costs_the_same_with_ten_times_the_history

bench: setup ## Measure against psql, sling, pgloader and dlt, write BENCHMARKS.md; ONLY=peers (or load, small, …) measures a part
	$(CARGO) bench $(LOCKED) $(OPTIMISED) --profile dev --bench load

bench-parts: setup ## Measure splitting, staging, validation and encoding separately
	$(CARGO) bench $(LOCKED) $(OPTIMISED) --profile dev --bench parts

check-instructions: setup ## Count the instructions of the computing parts and compare them with the stored counts; UPDATE=1 stores them
	$(CARGO) build $(LOCKED) $(OPTIMISED) --example part
	@.ci/check-instructions $(CARGO_TARGET_DIR)/debug/examples/part benches/instructions

deploy: $(SAM) ## Deploy to AWS as ENV (dev, test, prod); ARCH (arm64, x86_64) and PARAMETERS ("A=1 B=2") may be set; FROM=dist needs no Rust, SMOKE=no sends no file
	@.ci/deploy "$(ENV)" $(PARAMETERS)

rollback: $(SAM) ## Let files of ENV go to the version of ingest before this one, or to VERSION: its code and its settings
	@.ci/rollback "$(ENV)" $(VERSION)

smoke: $(SAM) ## Send a file through the stack of ENV, say how long each hop takes, and take it away again
	@.ci/smoke "$(ENV)"

destroy: $(SAM) ## Delete the stack of ENV from AWS, after it has said what will stay and what that costs
	@.ci/destroy "$(ENV)"

redrive: $(SAM) ## Send the dead letters of ENV back to its queue
	@.ci/redrive "$(ENV)"

cost: $(SAM) ## Say what a month of ENV costs, with PARAMETERS, FILES a month and ROWS a file
	@FILES="$(FILES)" ROWS="$(ROWS)" .ci/cost "$(ENV)" $(PARAMETERS)

$(SAM): .ci/sam-requirements.txt
	@.ci/install-packages
	@echo "==> installing sam, cargo-lambda, zig and the checkers of the template to $@"
	@.ci/install-sam $@

$(RELEASE_TOOLS): .ci/release-requirements.txt
	@.ci/install-packages
	@echo "==> installing what packs a release and checks workflows and crates to $@"
	@.ci/install-release-tools $@

check-template: $(SAM) ## Check template.yaml with sam, cfn-lint and a scanner of policies
	@.ci/check-template

check-host-binary: programs ## Check what the functions built for this machine need from the system
	@HOST=1 .ci/check-binary $(CARGO_TARGET_DIR)/debug/ingest $(CARGO_TARGET_DIR)/debug/migrate

check-windows: ## Check that the command line compiles for Windows, without DuckDB's own code
	@.ci/check-windows

check-images: programs $(SAM) ## Build the images of the Dockerfile on a stand-in for their base, run them, and deploy them to an emulator (needs Docker)
	@tests/images/check
	$(CARGO) test $(LOCKED) --test it -- --ignored deploy::images large::

# The same flags and folder as for the functions, so that only small-etl itself is built in addition.
dist: PROGRAMS := ingest migrate small-etl
dist: rds-certificates $(RELEASE_TOOLS) check-binaries ## Build and pack what is released into dist/: archives, wheels, zips for Lambda, checksums, a bill of materials
	@for arch in arm64 x86-64; do \
		mkdir -p $(SMALL_ETL_CACHE)/release/$$arch; \
		for program in $(PROGRAMS); do cp $(SMALL_ETL_CACHE)/lambda/$$arch/$$program/bootstrap $(SMALL_ETL_CACHE)/release/$$arch/$$program; done; \
	done
	@PYTHONPATH=$(RELEASE_TOOLS) .ci/package --certificates $(SMALL_ETL_CACHE)/rds.pem \
		--describe "$(SMALL_ETL_CACHE)/release/$(if $(filter x86_64,$(shell uname -m)),x86-64,arm64)/small-etl" dist \
		x86_64-unknown-linux-gnu=$(SMALL_ETL_CACHE)/release/x86-64 aarch64-unknown-linux-gnu=$(SMALL_ETL_CACHE)/release/arm64

# Before the long build: without them nothing can be packed.
rds-certificates:
	@.ci/rds-certificates $(SMALL_ETL_CACHE)/rds.pem

check-dist: programs $(SAM) $(RELEASE_TOOLS) ## Pack the development build as a release is packed, and install it on a file system without Rust
	$(CARGO) test $(LOCKED) --test it dist:: -- --nocapture

site: $(MDBOOK)/bin/mdbook ## Build the documentation as a site in dist/site, and check its links
	@.ci/site $< dist/site

$(MDBOOK)/bin/mdbook:
	@echo "==> compiling mdBook to $(MDBOOK)"
	@CARGO_TARGET_DIR=$(MDBOOK)/target cargo install mdbook --version 0.5.4 --locked --debug --no-default-features --features search --root $(MDBOOK) --quiet
	@rm -rf $(MDBOOK)/target

pictures: programs ## Make docs/pictures anew from the program; DATABASE_URL names an empty database
	@python3 -c 'import rich' 2>/dev/null || { echo "error: install the Python package rich first" >&2; exit 1; }
	@PATH="$(CARGO_TARGET_DIR)/debug:$$PATH" .ci/pictures

check-workflows: $(RELEASE_TOOLS) ## Check what is in .github: zizmor for weaknesses, schemas for mistakes
	@.ci/check-workflows

check-crates: $(RELEASE_TOOLS) ## Check licences, bans and sources of all crates by deny.toml
	@cargo fetch $(LOCKED) --quiet # those of other systems too
	@$(RELEASE_TOOLS)/run/cargo-deny --offline $(LOCKED) check --deny warnings bans licenses sources

# The same flags as in .ci/deploy.
check-binaries: export HOST_CXXFLAGS := -Xclang -Oz
check-binaries: export TARGET_CXXFLAGS := -Xclang -Oz
check-binaries: $(SAM) ## Build the functions as they are deployed, for arm64 and x86_64, and check what they need from Lambda
	@for arch in arm64 x86-64; do \
		echo "==> building for $$arch (the first time compiles DuckDB: half an hour or more)"; \
		PATH="$$PATH:$(SAM)/run" CARGO_ZIGBUILD_ZIG_PATH=$(SAM)/run/zig env -u CXX cargo-lambda lambda build $(LOCKED) --release --$$arch $(addprefix --bin ,$(PROGRAMS)) \
			--lambda-dir $(SMALL_ETL_CACHE)/lambda/$$arch; \
	done
	@.ci/check-binary $(SMALL_ETL_CACHE)/lambda/{arm64,x86-64}/{ingest,migrate}/bootstrap

check: setup ## Compile every target without running anything: seconds after an edit
	$(CARGO) check $(LOCKED) --all-targets

unit: setup ## Run the unit tests alone: no server is started
	$(CARGO) test $(LOCKED) --lib

lint: setup ## Check every target with clippy; a warning is an error
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings

format: ## Format the code
	cargo fmt

check-format: ## Fail if the code is not formatted
	cargo fmt --check
