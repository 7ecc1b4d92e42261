# The short front of the build. `make help` says what there is; meson.build is the build itself.
#
#   build/venv       Python's tools (tools/setup makes it)
#   build/release    the build that everything uses: optimised, with debug information
#   build/stage      an importable copy of the built Python package: what a wheel would hold
#   build/{asan,tsan,hard}   other builds, internal checks on, tests only
#   build/results    what the test runs counted
#
# Tests and demo import the package from build/stage by PYTHONPATH, so nothing is installed and
# nothing installed elsewhere is tested by mistake.

RELEASE = build/release
STAGE = build/stage
RESULTS = build/results
PREFIX = /usr/local

# meson finds venv's ninja by it.
export PATH := $(CURDIR)/build/venv/bin:$(PATH)
MESON = build/venv/bin/meson
NINJA = build/venv/bin/ninja
PYTHON_BIN = build/venv/bin/python
# The tests' generated code is kept in the build folder, not in the user's cache.
IN_STAGE = PYTHONPATH="$(CURDIR)/$(STAGE)" FERRULE_CACHE_DIR="$(CURDIR)/build/test-cache"

PYTHON_FILES = tools tests python bench examples
C_FILES = $(shell find src include tests/c tools python examples bench -name '*.[ch]' 2>/dev/null)

.PHONY: help setup configure build demo test check layers format-check docs-check bench install \
	asan ubsan tsan hard format reference clean

help:
	@echo 'make setup      install what is missing (apt, and Python tools in build/venv)'
	@echo 'make build      the library and the Python package, in $(RELEASE)'
	@echo 'make demo       a short show: Python, then C'
	@echo 'make test       all tests; closes with "N passed, N failed"'
	@echo 'make check      layers of includes, formats, the examples in the docs'
	@echo 'make bench      the benchmark, beside the peers that are installed'
	@echo 'make install    libferrule and its headers under PREFIX ($(PREFIX));'
	@echo '                the Python package: pip install .'
	@echo 'make asan tsan hard    tests under AddressSanitizer + UBSan, ThreadSanitizer,'
	@echo '                       and with the smallest caches and tiles'
	@echo 'make format     format C and Python in place'
	@echo 'make reference  docs/reference.md from src/op/ops.def and functions.def'
	@echo 'make clean      remove build/ (build/venv stays)'

setup:
	@tools/setup

# A folder is configured once; meson configures it anew by itself when its files change. One that
# another venv or a failed run has left is wiped.
configure: setup
	@$(call configure_folder,$(RELEASE),--prefix=$(PREFIX) --libdir=lib -Dpython=enabled)

define configure_folder
	if ! $(MESON) introspect $(1) --projectinfo >/dev/null 2>&1; then \
		rm -rf $(1) && $(MESON) setup $(1) $(2) >$(1).log 2>&1 || { cat $(1).log; exit 1; }; fi
endef

build: configure
	@$(NINJA) -C $(RELEASE) $(NINJA_ARGS)
	@$(PYTHON_BIN) tools/stage $(RELEASE) $(STAGE)

demo: build
	@$(IN_STAGE) $(PYTHON_BIN) bench/demo.py
	@$(IN_STAGE) $(PYTHON_BIN) bench/training.py
	@FERRULE_CACHE_DIR="$(CURDIR)/build/test-cache" $(RELEASE)/examples/gelu

# Python's tests run beside the C tests, which leave cores idle. Every part runs even if another one
# failed; the closing line adds them up.
test: build
	@mkdir -p $(RESULTS); rm -f $(RESULTS)/pytest.xml $(RELEASE)/meson-logs/testlog.json; \
	failed=0; \
	$(IN_STAGE) $(PYTHON_BIN) -m pytest -q --junitxml=$(RESULTS)/pytest.xml $(PYTEST_ARGS) \
		>$(RESULTS)/pytest.txt 2>&1 & python=$$!; \
	$(MESON) test -C $(RELEASE) --no-rebuild --print-errorlogs || failed=1; \
	wait $$python || failed=1; \
	cat $(RESULTS)/pytest.txt; \
	$(PYTHON_BIN) tools/summary $(RELEASE)/meson-logs/testlog.json $(RESULTS)/pytest.xml \
		|| failed=1; \
	exit $$failed

check: layers format-check docs-check

layers: setup
	@$(PYTHON_BIN) tools/layers

format-check: setup
	@build/venv/bin/clang-format --dry-run -Werror --ferror-limit=1 $(C_FILES)
	@build/venv/bin/ruff check --quiet $(PYTHON_FILES)
	@build/venv/bin/ruff format --quiet --check $(PYTHON_FILES) || \
		{ echo 'not formatted: make format'; exit 1; }
	@$(PYTHON_BIN) tools/gen.py reference src/op/ops.def - src/op/functions.def | cmp -s - docs/reference.md || \
		{ echo 'docs/reference.md is not what src/op/*.def give: make reference'; exit 1; }

docs-check: build
	@$(IN_STAGE) $(PYTHON_BIN) tools/check-docs $(RELEASE)

bench: build
	@$(IN_STAGE) $(PYTHON_BIN) bench/run.py $(BENCH_ARGS)

install: build
	@$(MESON) configure $(RELEASE) --prefix=$(PREFIX)
	@$(MESON) install -C $(RELEASE) --no-rebuild --tags runtime,devel

# ---- other builds: C tests with the internal checks on ---------------------------------------

OTHER = -Dpython=disabled -Db_ndebug=false
export ASAN_OPTIONS ?= detect_stack_use_after_return=1
export UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS ?= halt_on_error=1:second_deadlock_stack=1

# meson builds what its tests need before it runs them.
define other_build # name, options of meson setup, options of meson test
	@rm -f build/$(1)/meson-logs/testlog.json
	@$(call configure_folder,build/$(1),$(OTHER) $(2))
	@$(MESON) test -C build/$(1) --print-errorlogs --timeout-multiplier=4 $(3)
endef

# Optimised little, so that sources compile soon, with the lines in the debug information only.
SANITIZER = -Doptimization=1 -Dc_args=-g1 -Db_lundef=false

asan: setup
	$(call other_build,asan,$(SANITIZER) -Db_sanitize=address$(comma)undefined,--wrapper "$(CURDIR)/tools/asan-run")

ubsan: asan

tsan: setup
	$(call other_build,tsan,$(SANITIZER) -Db_sanitize=thread,--suite threads)

hard: setup
	$(call other_build,hard,-Dhard=true,)

comma = ,

# ---- files -----------------------------------------------------------------------------------

format: setup
	@build/venv/bin/clang-format -i $(C_FILES)
	@build/venv/bin/ruff check --quiet --fix $(PYTHON_FILES) || true
	@build/venv/bin/ruff format --quiet $(PYTHON_FILES)

reference: setup
	@$(PYTHON_BIN) tools/gen.py reference src/op/ops.def docs/reference.md src/op/functions.def

clean:
	@find build -mindepth 1 -maxdepth 1 ! -name venv -exec rm -rf {} + 2>/dev/null || true
