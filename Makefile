# The two commands of the README are `make demo` and `make test`; each does all the set-up it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The extension is rebuilt when any of these changes; Python files are used from the checkout.
NATIVE := $(wildcard runner/native/*.c runner/native/*.h) runner/native/native.cdef runner/native/build.py vmspec/record.py

.PHONY: demo test soak bench lint setup browser clean

demo: setup
	$(BIN)/python examples/linux/demo.py

test: setup lint browser
	VMRUN_REQUIRE_BROWSER=1 $(BIN)/python -m pytest -m "not soak"

# The long runs: the whole boot matrix, 100,000 mutated inputs, many runs in one process.
soak: setup
	$(BIN)/python -m pytest -m soak
	VMRUN_MUTATIONS=100000 $(BIN)/python -m pytest -k mutated

bench: setup
	$(BIN)/python -m tests.bench

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Bytecode is written here, for runs in the lab, which see this checkout read-only.
setup: $(VENV)/done
	@$(BIN)/python -m compileall -q vmspec runner tracer

# A plain Debian has python3 without its venv and header packages: get them where they are missing and we may.
$(VENV)/done: pyproject.toml setup.py $(filter-out runner/native/record.h,$(NATIVE))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vmrun needs Python 3.11 or later"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, sysconfig, pathlib, sys; \
	    sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' 2>/dev/null \
	    || { apt-get update -q && apt-get install -qy --no-install-recommends python3-venv python3-dev; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

# What the report's tests click with; fonts too, without which headless Chromium measures no text.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { apt-get update -q && \
	    apt-get install -qy --no-install-recommends chromium chromium-driver fonts-dejavu-core; }

clean:
	rm -rf $(VENV) build *.egg-info runner/native/*.so runner/native/record.h runner/native/_native.c
