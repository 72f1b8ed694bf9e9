# SPDX-License-Identifier: Apache-2.0
# The commands that people use; meson and ninja do the work. `make help` lists them.

BUILD  := build
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)

.PHONY: all setup run test test-kvm check kernel bench bench-kvm soak fuzz install clean help

all: $(BUILD)/build.ninja ## build everything into build/ (the default)
	@scripts/build-kernel --cached $(BUILD)/guest/tuned/vmlinux
	@ninja -C $(BUILD) -j$(JOBS)

$(BUILD)/build.ninja:
	@scripts/setup run --dry-run
	@meson setup $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log >&2; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

setup: ## install the Debian packages that building and running need
	@scripts/setup run

run: setup ## set up, build, and run a first command in a box
	@$(MAKE) --no-print-directory all
	$(BUILD)/boxlite run busybox echo "Hello from BoxLite"

test: ## set up, build with the tuned kernel, and run every test
	@scripts/setup test
	@$(MAKE) --no-print-directory all kernel
	@tests/run --build $(BUILD)

test-kvm: ## integration tests on engine kvm, on an emulated host if need be; FULL=1: all
	@scripts/setup test
	@$(MAKE) --no-print-directory all kernel
	@tests/kvm/test

check: ## format, both compilers, clang-tidy, cppcheck, and rules of our own
	@scripts/setup check
	@$(MAKE) --no-print-directory all
	@scripts/check

kernel: $(BUILD)/build.ninja ## build the tuned guest kernel (minutes, once; kept in ~/.cache/boxlite)
	@scripts/build-kernel $(BUILD)/guest/tuned/vmlinux

bench: all ## measure: a table, and JSON in build/bench.json
	@bench/run --build $(BUILD)

bench-kvm: all kernel ## measure engine kvm, on an emulated host if need be; N: rounds (5); INSTRUCTIONS=1: a million is 1 ms
	@scripts/setup test
	@tests/make-debian-image >/dev/null # an emulated host has no network
	@tests/kvm/host --deadline 14400 $(if $(INSTRUCTIONS),--instructions) -- bench/run --build $(BUILD) --rounds $(or $(N),5) kvm kvmdebian boxdisk

soak: ## N lifecycles (300) by four at once, one in ten killed at random; then each call of a command failing every time
	@scripts/setup test
	@$(MAKE) --no-print-directory all
	@BOXLITE_SOAK=$(or $(N),300) tests/run --build $(BUILD) torture -- -k test_soak
	@BOXLITE_FAULTS_EVERY=1 tests/run --build $(BUILD) torture -- -k test_failing_calls

fuzz: ## run the fuzzers for a while
	@scripts/setup test
	@tests/fuzz/run

install: all ## install to PREFIX (/usr/local) beneath DESTDIR
	@meson configure $(BUILD) -Dprefix=$(abspath $(PREFIX)) && ninja -C $(BUILD) -j$(JOBS) >/dev/null
	@DESTDIR=$(abspath $(DESTDIR)) meson install -C $(BUILD) --no-rebuild --strip --quiet

clean: ## remove what was built here (the kernels' cache stays)
	rm -rf $(BUILD) $(wildcard build-*)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10
