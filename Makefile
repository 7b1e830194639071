# The verbs of the project. Each makes .venv and installs what it needs; nothing is installed elsewhere.
PYTHON ?= python3
BIN    := .venv/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet
TREE   := build/py3-none-linux_x86_64
SOURCES := pyproject.toml $(shell find native protocol client worker tests/native -type f -not -name '*.pyc')
CXX_FILES := $(shell find native tests examples bench -name '*.cc' -o -name '*.h' -o -name '*.cpp')
DRIVER ?= $(shell ldconfig -p | awk '/libcuda.so.1/ {print $$NF; exit}')
CAMPAIGN := $(BIN)/python -m pytest

.PHONY: help build demo test test-torch check generated bench gpu-check clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/requirements: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install cmake ninja "scikit-build-core>=0.11" nvidia-cuda-runtime==13.0.96 "pyzmq>=27"
	touch $@

.venv/built: .venv/requirements $(SOURCES)
	$(PIP) install --no-build-isolation -C cmake.define.VGPU_TESTING=ON .
	$(PIP) install --no-build-isolation -C cmake.define.VGPU_TESTING=ON --no-deps --force-reinstall .
	touch $@

.venv/%-extra: .venv/built
	$(PIP) install --no-build-isolation -C cmake.define.VGPU_TESTING=ON ".[$*]"
	touch $@

build: .venv/built ## compile everything and install it into .venv

demo: .venv/cupy-extra ## CuPy over ZeroMQ on the software GPU, results checked
	$(BIN)/vgpu run --stats -- $(BIN)/python examples/cupy_quickstart.py

test: .venv/cupy-extra .venv/test-extra ## all tests that need no GPU and no PyTorch
	VGPU_NATIVE_TESTS=$(TREE)/tests $(CAMPAIGN)

test-torch: .venv/torch-extra .venv/test-extra ## the PyTorch examples, with the real wheel
	$(CAMPAIGN) -m torch tests/programs

check: .venv/check-extra ## lint, types, formats
	$(BIN)/ruff check .
	$(BIN)/ruff format --check client worker protocol tests examples bench native
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

generated: .venv/built ## a browsable copy of what the build generates, and docs/coverage.md
	rm -rf generated && cp -r $(TREE)/generated/generated generated
	PYTHONPATH=protocol $(BIN)/python -m vgpu.protocol.codegen --spec protocol/spec --coverage docs/coverage.md

bench: .venv/cupy-extra ## ratios against the direct driver and the bare transport
	$(BIN)/python bench/run.py

gpu-check: .venv/cupy-extra .venv/test-extra ## conformance and examples on the real GPU, alone and through the stub
	@test -n "$(DRIVER)" || { echo "no libcuda.so.1 on this machine: gpu-check needs a real GPU"; exit 1; }
	$(CAMPAIGN) tests/conformance --driver $(DRIVER)
	$(CAMPAIGN) -m gpu tests/programs

clean: ## remove what the verbs made
	rm -rf .venv build generated
