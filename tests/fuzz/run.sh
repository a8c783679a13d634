#!/bin/sh
# Builds the libFuzzer targets and runs each: tests/fuzz/run.sh [SECONDS [TARGET...]]; 300 seconds each by default.
# Needs clang with its fuzzer runtime (Debian: clang libclang-rt-14-dev). Corpora and findings stay in build/fuzz.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-300}
[ $# -gt 0 ] && shift
build=build/fuzz
python=${PYTHON:-python3}
[ -x .venv/bin/python ] && python=.venv/bin/python

mkdir -p "$build"
cmake -S . -B "$build" -DFGW_FUZZERS=ON -DCMAKE_C_COMPILER="${CC:-clang}" -DCMAKE_CXX_COMPILER="${CXX:-clang++}" >"$build/configure.log"
cmake --build "$build" --target fuzzers --parallel
"$python" tests/fuzz/corpus.py "$build/seeds"
[ $# -eq 0 ] && set -- $(cd tests/fuzz && ls fuzz_*.c | sed 's/\.c$//')
for target in "$@"; do
    mkdir -p "$build/corpus/$target" "$build/findings"
    dictionary=
    [ -f "tests/fuzz/$target.dict" ] && dictionary="-dict=tests/fuzz/$target.dict"
    limit=8192 # but no seed is cut
    [ "$target" = fuzz_image ] && limit=65536
    # shellcheck disable=SC2086 # an empty dictionary is no argument
    "$build/$target" -max_total_time="$seconds" -timeout=10 -max_len="$limit" -print_final_stats=1 $dictionary \
        -artifact_prefix="$build/findings/$target-" "$build/corpus/$target" "$build/seeds/$target"
done
