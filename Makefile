# Two commands: `make demo` shows the main job, `make test` proves it. Everything lives in .venv and .stretto.
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
BUILD_INPUTS := pyproject.toml hatch_build.py $(wildcard protos/*.proto)
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
SEEDS ?= 500
NIGHTLY_SEEDS ?= 20000
# What the GPU tests need; a machine that cannot build it says so and skips them. Empty: then it is an error (CI).
GPU_TOOLCHAIN ?= --if-possible
SECONDS_TO_FUZZ := $(if $(filter command% env%,$(origin SECONDS)),$(SECONDS),3600)

.PHONY: help demo test check format bench bench-hash sim nightly mutants model e2e fuzz interop image setup setup-dev lock clean gpu-verify gpu-toolchain gpu-ptx gpu-extra contracts contracts-verify contracts-mutants bench-bridge bridge-campaign

help:  ## Shows this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 19

demo: setup  ## The main job on real audio; AUDIO=/path/to/music uses your own folder
	@exec $(BIN)/stretto demo $(if $(AUDIO),--audio "$(AUDIO)")

test: setup-dev gpu-toolchain  ## Sets everything up and runs the tests
	@$(BIN)/python -m pytest $(PYTEST)

check: setup-dev  ## Format, lint, types, import walls, house rules
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/test_repository.py

format: setup-dev  ## Formats the code
	@$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

bench: setup-dev  ## Measures what the README says; writes bench/out/
	@$(BIN)/python -m bench.run

bench-hash: setup-dev  ## `stretto hash` beside b3sum: warm, cold, three corpora; some 11 GB of disk
	@$(BIN)/python -m bench.hash $(HASH)

bench-bridge: setup-dev  ## Gas of every operation, and four relayers on three chains; writes bench/out/bridge.json; needs Node.js 20
	@$(BIN)/python -m bench.bridge

sim: setup-dev  ## Deterministic simulation of whole nodes; SEEDS=N
	@$(BIN)/python -m tests.simulation.run --seeds $(SEEDS)

nightly: setup-dev  ## Many thousands of seeds, other ones each night; report in .stretto/nightly
	@$(BIN)/python -m tests.simulation.nightly --seeds $(NIGHTLY_SEEDS)

setup: $(VENV)/.runtime
setup-dev: $(VENV)/.dev

$(VENV)/.python:
	@export PYTHON="$$(scripts/python)"
	scripts/system-packages build
	echo "stretto: creating $(VENV) with $$PYTHON" >&2
	"$$PYTHON" -m venv $(VENV)
	touch $@

$(VENV)/.runtime: $(VENV)/.python requirements.lock $(BUILD_INPUTS)
	@echo "stretto: installing what it needs (about a minute the first time)" >&2
	$(PIP) install --no-deps --require-hashes -r requirements.lock
	$(PIP) install --no-deps -e .
	$(BIN)/python -m compileall -q bridge catalog cli kernels # an editable installation does not
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock scripts/system-packages
	@PYTHON=$(BIN)/python scripts/system-packages test
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	touch $@

mutants: setup-dev  ## Breaks each rule of nodes, one at a time; the simulation must notice
	@$(BIN)/python -m tests.simulation.mutants
	@$(BIN)/python -m tests.simulation.actors

model: setup-dev  ## Searches the model of the voting rules with Spin (apt-get install spin)
	@$(BIN)/python -m tests.model.run

e2e: setup-dev  ## The slow campaign: faults and changes of members on real processes
	@$(BIN)/python -m tests.campaign.run

fuzz: setup-dev  ## Fuzzes every decoder; SECONDS=N over all of them, an hour unless told
	@$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS_TO_FUZZ)

interop: setup-dev  ## js-libp2p against real nodes; needs Node.js 20 or newer
	@$(BIN)/python -m pytest -q tests/interop

contracts: setup-dev  ## Builds the contracts and compares them with contracts/artifacts; WRITE=1 writes them; needs Node.js 20
	@$(BIN)/python -m contracts.build $(if $(WRITE),--write)

contracts-verify: setup-dev  ## The slow checks of the contracts: anvil, forge, slither; needs Node.js 20
	@$(BIN)/python -m tests.contracts.verify

contracts-mutants: setup-dev  ## Breaks every check of the contracts; the tests must notice; needs Node.js 20
	@$(BIN)/python -m tests.contracts.mutants

bridge-campaign: setup-dev  ## Four relayers, three chains: killed, reorganised, lied to; nothing paid twice, nothing lost; needs Node.js 20
	@$(BIN)/python -m tests.bridge.campaign

gpu-verify: setup-dev  ## Checks the GPU kernels without a GPU: host, sanitizers, PTX, pycuda on a driver of our own
	@$(BIN)/python -m tests.kernels.driver.toolchain
	$(BIN)/python -m pytest -q tests/kernels tests/cli/test_gpu.py

gpu-toolchain: setup-dev
	@$(BIN)/python -m tests.kernels.driver.toolchain $(GPU_TOOLCHAIN)

gpu-extra: setup-dev  ## For owners of an NVIDIA GPU: builds pycuda and puts it into .venv (docs/gpu.md)
	@$(BIN)/python -m tests.kernels.driver.toolchain
	$(PIP) install .stretto/gpu/wheels/pycuda-*.whl
	$(BIN)/stretto gpu status

gpu-ptx: setup-dev  ## Compiles kernels/blake3.cu anew
	@$(BIN)/python -m tests.kernels.driver.toolchain --write-ptx

image:  ## Builds the container image; docker/test.sh tests it
	@docker build -f docker/Dockerfile -t stretto .

lock: setup-dev  ## Renews both lock files from pyproject.toml
	@$(PIP) install uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header --generate-hashes pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header --generate-hashes -c requirements.lock --group dev pyproject.toml -o requirements-dev.lock

clean:  ## Removes everything that was built here
	@rm -rf $(VENV) .stretto build dist bench/out protos/*_pb2*.py* .mypy_cache .ruff_cache .pytest_cache .hypothesis
