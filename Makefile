# SPDX-License-Identifier: Apache-2.0
# The front door. Every target works on a fresh Debian 12 as root; `make setup` is idempotent.
.DEFAULT_GOAL := all
BUILD ?= build
export PYTHON ?= /usr/bin/python3

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD) >/dev/null || { echo "fix: run 'make setup' first" >&2; exit 1; }

setup:
	@tools/setup.sh

demo: setup all
	@tools/demo.sh

unit: all
	@tools/meson_test.sh $(BUILD) unit

sim: all
	@tools/meson_test.sh $(BUILD) sim
	@$(BUILD)/mcp-sim --controller failover --seeds 1..160000

check: all
	@tools/meson_test.sh $(BUILD) unit sim fuzz

integ: all
	@tools/integ.sh

integ-mysql: all
	@tools/integ_mysql.sh

asan:
	@tools/sanitize.sh address,undefined

tsan:
	@tools/sanitize.sh thread

mutate:
	@tools/mutate.sh

deb: $(BUILD)/build.ninja
	@tools/deb.sh

vm:
	@tools/vm.sh

test: setup all
	@tools/test.sh

lint: all
	@tools/lint.sh

fuzz: setup
	@tools/fuzz.sh $(T)

drills: all
	@tools/drills.sh $(T)

bench: all
	@bench/run.sh

bench-%: all
	@bench/run.sh $*

fmt:
	@git ls-files 'src/*.[ch]' 'test/*.[ch]' | xargs clang-format -i

clean:
	rm -rf build build-*

.PHONY: all setup demo unit sim check integ integ-mysql asan tsan mutate deb vm test lint fuzz drills bench fmt clean
