# The verbs of the project. Each makes .venv and installs what it needs; nothing is installed elsewhere.
PYTHON ?= python3
SHELL  := /bin/bash
.SHELLFLAGS := -o pipefail -c
BIN    := .venv/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet
TREE   := build/py3-none-linux_x86_64
# cuda.h 13 lives outside site-packages: CuPy for CUDA 12 would take its other headers for its own.
export VGPU_CUDA_HEADERS := $(CURDIR)/.venv/headers
SOURCES := pyproject.toml $(shell find native protocol client worker tests/native -type f -not -name '*.pyc')
CXX_FILES := $(shell find native tests examples bench -name '*.cc' -o -name '*.h' -o -name '*.cpp')
DRIVER ?= $(shell ldconfig -p | awk '/libcuda.so.1/ {print $$NF; exit}')
CLANG ?= clang++
PYTEST := $(BIN)/python -m pytest

.PHONY: help build demo test check-sanitizers test-torch test-programs test-cupy-suite check check-deep generated bench bench-softgpu gpu-check clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/requirements: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install cmake ninja "scikit-build-core>=0.11" "pyzmq>=27"
	$(PIP) install --no-deps --target $(VGPU_CUDA_HEADERS) nvidia-cuda-runtime==13.0.96
	touch $@

.venv/built: .venv/requirements $(SOURCES)
	$(PIP) install --no-build-isolation --no-deps --force-reinstall .
	$(PIP) install vgpu
	touch $@

.venv/%-extra: .venv/built
	$(PIP) install "vgpu[$*]"
	touch $@

.venv/native-tests: .venv/built
	$(BIN)/cmake -S native -B $(TREE) -DVGPU_TESTING=ON >/dev/null
	$(BIN)/cmake --build $(TREE) >/dev/null
	touch $@

build: .venv/built ## compile everything and install it into .venv

demo: .venv/cupy-extra ## CuPy over ZeroMQ on the software GPU, results checked
	$(BIN)/vgpu run --driver soft --transport tcp --stats -- $(BIN)/python examples/cupy_quickstart.py

test: .venv/cupy-extra .venv/test-extra .venv/native-tests ## all tests that need no GPU and no PyTorch
	VGPU_NATIVE_TESTS=$(TREE)/tests $(PYTEST)

# PyTorch brings CUDA 13 wheels: an environment of its own, as a user's would be.
.venv-torch/installed: pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/pip --disable-pip-version-check --quiet install torch==2.11.0 numpy
	touch $@

test-torch: .venv-torch/installed .venv/test-extra ## the PyTorch examples, with the real wheel
	VGPU_TORCH_PYTHON=$(CURDIR)/.venv-torch/bin/python $(PYTEST) -m torch tests/programs

test-cupy-suite: .venv/cupy-suite-extra ## a sample of CuPy's own tests on the software GPU, through the stub; goes on where it was
	PYTHONPATH=tests $(BIN)/python -m cupy_suite

test-programs: .venv/programs-extra .venv/cupy-extra .venv/test-extra .venv-torch/installed ## real programs (numba, Triton, cuda-python) on the software GPU
	VGPU_TORCH_PYTHON=$(CURDIR)/.venv-torch/bin/python $(PYTEST) -m programs tests/programs

# Each sanitizer needs a build of its own; -O1 keeps that short, and its reports readable. Programs
# end at the first report, and so do the executors that they start.
check-sanitizers: .venv/built .venv/test-extra ## native tests under ThreadSanitizer, AddressSanitizer and UBSan
	export TSAN_OPTIONS=suppressions=$(CURDIR)/tests/native/tsan.supp:halt_on_error=1; \
	export LSAN_OPTIONS=suppressions=$(CURDIR)/tests/native/lsan.supp:print_suppressions=0; \
	export UBSAN_OPTIONS=print_stacktrace=1; \
	set -e; for kind in thread address,undefined; do tree=build/sanitize-$${kind%%,*}; \
	  $(BIN)/cmake -S native -B $$tree -G Ninja -DPython3_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	    -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O1 \
	    -DVGPU_LANE_OPTIMIZATION=-O1 -DVGPU_TESTING=ON -DVGPU_SANITIZE=$$kind >/dev/null; \
	  $(BIN)/cmake --build $$tree; \
	  VGPU_NATIVE_TESTS=$$tree/tests $(PYTEST) tests/native; \
	done

check: .venv/check-extra ## lint, types, formats
	$(BIN)/ruff check .
	$(BIN)/ruff format --check client worker protocol tests examples bench native
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

# Fuzzing with clang's libFuzzer and its sanitizers, FUZZ_SECONDS for each target. Each begins with
# its own seeds; those of PTX are also the texts that the instruction tests run.
FUZZ_SECONDS ?= 60
FUZZ := build/fuzz
check-deep: .venv/test-extra ## fuzz every decoder for FUZZ_SECONDS (60) each, with clang's sanitizers
	@echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' | \
	  $(CLANG) -x c++ -fsanitize=fuzzer,address - -o /dev/null 2>/dev/null || \
	  { echo "$(CLANG) with libFuzzer is needed: apt-get install clang libclang-rt-14-dev"; exit 1; }
	$(BIN)/cmake -S native -B $(FUZZ) -G Ninja -DPython3_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DCMAKE_CXX_COMPILER=$(CLANG) \
	  -DVGPU_TESTING=ON -DVGPU_LIBFUZZER=ON \
	  -DVGPU_LANE_OPTIMIZATION=-O1 -DVGPU_SANITIZE=address,undefined >/dev/null
	$(BIN)/cmake --build $(FUZZ) --target fuzz
	VGPU_PTX_CORPUS=$(CURDIR)/$(FUZZ)/corpus/fuzz_ptx $(PYTEST) -q tests/softgpu/isa
	export UBSAN_OPTIONS=print_stacktrace=1; \
	for target in fuzz_elf fuzz_fatbin fuzz_ptx_directory fuzz_soft_config fuzz_ptx; do \
	  program=$$(find $(FUZZ) -name $$target -type f -perm -u+x) && \
	  $$program --seeds=$(FUZZ)/corpus/$$target && \
	  $$program -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(FUZZ)/ $(FUZZ)/corpus/$$target || exit 1; \
	done

generated: .venv/built ## a browsable copy of what the build generates, and generated parts of docs
	rm -rf generated && cp -r $(TREE)/generated/generated generated
	PYTHONPATH=protocol $(BIN)/python -m vgpu.protocol.codegen --spec protocol/spec --coverage docs/coverage.md
	PYTHONPATH=tests $(BIN)/python -m softgpu.isa.refused docs/softgpu.md

bench: .venv/cupy-extra ## ratios against the direct driver and the bare transport
	$(BIN)/python bench/run.py

bench-softgpu: .venv/cupy-extra ## lane operations per second of the software GPU, next to NumPy
	$(BIN)/python bench/softgpu/run.py

gpu-check: .venv/cupy-extra .venv/test-extra .venv-torch/installed ## conformance and examples on the real GPU, alone and through the stub
	@test -n "$(DRIVER)" || { echo "no libcuda.so.1 on this machine: gpu-check needs a real GPU"; exit 1; }
	( nvidia-smi; \
	  $(PYTEST) tests/conformance --driver $(DRIVER) && \
	  VGPU_TORCH_PYTHON=$(CURDIR)/.venv-torch/bin/python $(PYTEST) -m gpu tests/programs \
	) 2>&1 | tee docs/results/gpu-check.log

clean: ## remove what the verbs made
	rm -rf .venv .venv-torch build generated .cache
