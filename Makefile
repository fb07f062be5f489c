# The two commands of the README are `make demo` and `make test`; each does all the set-up it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The extension is rebuilt when any of these changes; Python files are used from the checkout.
NATIVE := $(wildcard runner/native/*.c runner/native/*.h) runner/native/native.cdef runner/native/build.py runner/native/generated.py $(wildcard vmspec/trace/*.py)

# Programs of Debian's that the build, tests and measurements use, each with its packages.
BUILD_TOOLS := cc:gcc+libc6-dev
TEST_TOOLS := iasl:acpica-tools chromium:chromium+fonts-dejavu-core chromedriver:chromium-driver perf:linux-perf jq:jq
BENCH_TOOLS := perf:linux-perf qemu-system-x86_64:qemu-system-x86 trace-cmd:trace-cmd

.PHONY: demo test soak bench lint install setup clean

# Install the packages of those programs that are missing.
define need
@missing=; for tool in $(1); do command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
    test -z "$$missing" || { apt-get update -q && apt-get install -qy --no-install-recommends $$(echo $$missing | tr + ' '); }
endef

demo: install
	$(BIN)/python examples/linux/demo.py

test: setup lint
	$(call need,$(TEST_TOOLS))
	VMRUN_REQUIRE_BROWSER=1 $(BIN)/python -m pytest -m "not soak"

# The long runs: the whole boot matrix, 100,000 mutated inputs of each kind and 200,000 mutated files, many runs in one
# process.
soak: setup
	$(call need,$(TEST_TOOLS))
	$(BIN)/python -m pytest -m soak
	VMRUN_MUTATIONS=100000 VMRUN_MUTATED_FILES=200000 $(BIN)/python -m pytest -k mutated

bench: setup
	$(call need,$(BENCH_TOOLS))
	$(BIN)/python -m tests.bench

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# What runs machines and reads traces, for `make demo`, and the same with what tests and measures it. Bytecode is
# written here, for runs in the lab, which see this checkout read-only.
install: $(VENV)/installed
	@$(BIN)/python -m compileall -q vmspec runner tracer

setup: $(VENV)/test
	@$(BIN)/python -m compileall -q vmspec runner tracer

BUILT_FROM := pyproject.toml setup.py $(filter-out runner/native/record.h,$(NATIVE))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/installed: $(BUILT_FROM) | $(BIN)/python
	$(PIP) --editable .
	@$(BIN)/python -c 'import runner.native'
	touch $@

$(VENV)/test: $(BUILT_FROM) | $(BIN)/python
	$(PIP) --editable '.[test]'
	@$(BIN)/python -c 'import runner.native'
	touch $(VENV)/installed $@

# A plain Debian has python3 without its venv and header packages: get them where they are missing and we may.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vmrun needs Python 3.11 or later"; exit 1; }
	$(call need,$(BUILD_TOOLS))
	@$(PYTHON) -c 'import ensurepip, sysconfig, pathlib, sys; \
	    sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' 2>/dev/null \
	    || { apt-get update -q && apt-get install -qy --no-install-recommends python3-venv python3-dev; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build *.egg-info runner/native/*.so runner/native/record.h runner/native/_native.c runner/native/unbuilt.txt
