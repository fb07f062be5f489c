# The two commands of the README are `make demo` and `make test`; each does all the set-up it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The extension is rebuilt when any of these changes; Python files are used from the checkout.
NATIVE := $(wildcard runner/native/*.c runner/native/*.h) runner/native/native.cdef runner/native/build.py runner/native/generated.py $(wildcard vmspec/trace/*.py) vmspec/plan/calls.py

FORMATTED := $(filter-out runner/native/record.h,$(wildcard runner/native/*.c runner/native/*.h)) $(wildcard tests/bench/*.c) $(wildcard tests/fuzz/*.[ch])

# Programs of Debian's that the build, tests and measurements use, each with its packages.
BUILD_TOOLS := cc:gcc+libc6-dev
TEST_TOOLS := gdb:gdb iasl:acpica-tools chromium:chromium+fonts-dejavu-core chromedriver:chromium-driver perf:linux-perf jq:jq qemu-io:qemu-utils
TEST_TOOLS += qemu-storage-daemon:qemu-system-common qemu-system-x86_64:qemu-system-x86
TEST_TOOLS += xmllint:libxml2-utils+libvirt0
FUZZ_TOOLS := clang:clang+libclang-rt-dev
FUZZ_LIBRARIES := libslirp0
BENCH_TOOLS := perf:linux-perf qemu-system-x86_64:qemu-system-x86 trace-cmd:trace-cmd

.PHONY: demo check test soak sanitised fuzz bench coverage mutants lint docs stub dist install setup dev clean

# Install the packages of those programs that are missing.
define need
@missing=; for tool in $(1); do command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; done; \
    test -z "$$missing" || { apt-get update -q && apt-get install -qy --no-install-recommends $$(echo $$missing | tr + ' '); }
endef

# A copy of the checkout, built with other flags; what it has built stays, as long as it does not change.
define checkout
git ls-files -z --cached --others --exclude-standard | xargs -0 -n1 | while read -r file; do \
    test ! -e "$$file" || cmp -s "$$file" "$(1)/$$file" || install -D -p "$$file" "$(1)/$$file"; done
cd $(1) && rm -f runner/native/_native*.so && VMRUN_NATIVE_FLAGS="$(2)" $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace --force
endef

# Without the bytecode of the test files, collecting the tests takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

# Tests on all cores. A worker has whole files, or all that share a stay in the lab. The stays take longest and begin
# first.
SPREAD := -n auto --dist loadscope --no-loadscope-reorder

# What needs neither KVM nor anything else of the host's.
PURE := not kvm and not lab and not browser and not soak

demo: install
	$(BIN)/python examples/linux/demo.py

# Before each commit: what needs no KVM, no lab and no long time.
check: dev lint
	$(BIN)/python -m pytest -q $(SPREAD) -m "$(PURE) and not long"

test: setup lint
	$(call need,$(TEST_TOOLS))
	VMRUN_REQUIRE_BROWSER=1 $(BIN)/python -m pytest $(SPREAD) -m "not soak"

# The files with properties whose examples are dear.
DEAR = $(shell grep -rl 'import DEAR' tests)

# The long runs: the whole boot matrix, 100,000 mutated inputs of each kind and 200,000 mutated files, many runs in one
# process, and the C code under sanitizers and fuzzed.
soak: setup sanitised fuzz
	$(call need,$(TEST_TOOLS))
	$(BIN)/python -m pytest -m soak
	VMRUN_MUTATIONS=100000 VMRUN_MUTATED_FILES=200000 $(BIN)/python -m pytest -k mutated
	VMRUN_SOAK=1 VMRUN_EXAMPLES=1000 $(BIN)/python -m pytest -m "not soak" $(DEAR)

# The C code under ASan and UBSan: the tests on this host's KVM and those of the rings, in a checkout of their own with
# such an extension. CPython leaks at its end, as it always has.
SANITISE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITISED_TESTS := tests/runner/machine tests/runner/native tests/runner/recording tests/runner/devices tests/runner/test_run.py \
    $(filter-out %/test_terminal.py %/test_terminals.py,$(wildcard tests/runner/backends/test_*.py)) \
    tests/runner/test_streams.py tests/runner/test_memory.py tests/runner/test_account.py tests/runner/test_many.py
sanitised: setup
	$(call checkout,build/sanitised,$(SANITISE))
	cd build/sanitised && PYTHONPATH=$(CURDIR)/build/sanitised ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0 PYTHONMALLOC=malloc \
	    LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	    $(CURDIR)/$(BIN)/python -m pytest -q -m "not soak and not lab" $(SANITISED_TESTS)

# What reads a hostile guest's queues and registers, fuzzed by coverage, C under ASan and UBSan: so many inputs for each of
# tests/fuzz, for each kind of device in Python, PCI's configuration space included. What has reached new code is kept in
# build/fuzz, and so is an input that fails. FUZZED and FUZZED_KINDS select, as `make fuzz FUZZED=blk FUZZED_KINDS=`.
FUZZ_RUNS ?= 1000000
FUZZED := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZED_KINDS := virtio-rng virtio-console virtio-balloon virtio-python pci fw-cfg flash
FUZZ_OPTIONS = -runs=$(FUZZ_RUNS) -max_len=1024 -len_control=10 -timeout=60 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1
FUZZ_SOURCES := $(filter-out runner/native/_native.c,$(wildcard runner/native/*.c))
fuzz: dev
	$(call need,$(FUZZ_TOOLS))
	@dpkg -s $(FUZZ_LIBRARIES) >/dev/null || apt-get install -qy --no-install-recommends $(FUZZ_LIBRARIES)
	for name in $(FUZZED); do \
	    mkdir -p build/fuzz/$$name && clang -std=gnu11 -O1 -g -Wall -Wextra -Wno-unused-parameter -pthread -Irunner/native \
	        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined tests/fuzz/$$name.c $(FUZZ_SOURCES) \
	        -o build/fuzz/$$name.run && \
	    build/fuzz/$$name.run $(FUZZ_OPTIONS) -artifact_prefix=build/fuzz/$$name- build/fuzz/$$name || exit 1; \
	done
	for kind in $(FUZZED_KINDS); do \
	    case $$kind in pci) what=configuration ;; fw-cfg|flash) what="firmware $$kind" ;; *) what="registers $$kind" ;; esac; \
	    mkdir -p build/fuzz/$$kind && $(BIN)/python -m tests.fuzz.$$what $(FUZZ_OPTIONS) \
	        -artifact_prefix=build/fuzz/$$kind- build/fuzz/$$kind || exit 1; \
	done

# How much of Python, by lines and branches, and of C, by lines, the pure tests and those on this host's KVM reach.
COVERED_TESTS ?= tests
coverage: dev
	$(call checkout,build/coverage,-O0 --coverage)
	cd build/coverage && PYTHONPATH=$(CURDIR)/build/coverage $(CURDIR)/$(BIN)/coverage run -m pytest -q -m "not soak and not lab and not browser" $(COVERED_TESTS); \
	    $(CURDIR)/$(BIN)/coverage combine -q && $(CURDIR)/$(BIN)/coverage report
	cd build/coverage && $(CURDIR)/$(BIN)/gcovr --root . --filter runner/native/ --exclude '.*_native\.c' build

# Whether the tests notice changes of the code; one group, as MUTANTS=cpuid, takes minutes (tests/mutants/groups.toml).
mutants: dev
	$(BIN)/python -m tests.mutants $(MUTANTS)

# The lists in the documents, from the code.
docs: dev
	$(BIN)/python -m tests.docs.reference

# What mypy knows of the C extension, from the extension.
stub: setup
	$(BIN)/python -m tests.runner.native.stub

# The sdist and a wheel, built alone, of documents that have all that is new.
dist: dev
	$(BIN)/python -m tests.docs.reference --check
	$(BIN)/python -m build

# All measurements, or some: `make bench virtio linux`.
ifeq ($(firstword $(MAKECMDGOALS)),bench)
MEASURED := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
.PHONY: $(MEASURED)
$(MEASURED):
	@:
endif
bench: setup
	$(call need,$(BENCH_TOOLS))
	$(BIN)/python -m tests.bench $(MEASURED)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(FORMATTED)

# What runs machines and reads traces, for `make demo`, and the same with what tests and measures it. Bytecode is
# written here, for runs in the lab, which see this checkout read-only.
install: $(VENV)/installed
	@$(BIN)/python -m compileall -q vmspec runner tracer

dev: $(VENV)/dev
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

$(VENV)/dev: $(BUILT_FROM) | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@$(BIN)/python -c 'import runner.native'
	touch $(VENV)/installed $(VENV)/test $@

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
