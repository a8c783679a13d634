#!/usr/bin/env bash
# Everything a fresh Debian 12+ or Ubuntu 22.04+ machine with Python >= 3.11 needs, in one command:
#   ./bootstrap.sh setup   system packages that are missing (apt, with sudo when not root), .venv, build; seconds when nothing changed
#   ./bootstrap.sh run     setup, then the quickstart gateway with its demo upstream; Ctrl-C ends it
#   ./bootstrap.sh test    setup, then the whole test suite
# PYTHON chooses the interpreter; HTTP_PORT, HTTPS_PORT and UPSTREAM_PORT the ports of run; PYTEST_JOBS the processes of test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

VENV=.venv
CORES=$(nproc)

say() { printf '%s\n' "$*" >&2; }
fail() { say "bootstrap: $*"; exit 1; }

# --- system packages: looked for by what they bring, so that a machine that has it another way is left alone ---

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; return; fi
    command -v sudo >/dev/null || fail "root is needed for: $*"
    sudo "$@"
}

apt_knows() { apt-cache show "$1" >/dev/null 2>&1; }

apt_updated=0
apt_update_once() {
    [ "$apt_updated" = 0 ] || return 0
    apt_updated=1
    command -v apt-get >/dev/null || fail "something is missing and there is no apt-get to install it with; the README lists the packages"
    as_root apt-get update -qq
}

apt_install() {
    command -v apt-get >/dev/null || fail "there is no apt-get to install these with: $*"
    say "installing: $*"
    local package
    for package in "$@"; do
        apt_knows "$package" || apt_update_once
    done
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@")
    as_root "${install[@]}" >/dev/null && return
    # the lists were there but too old for what the mirror holds now
    apt_update_once
    as_root "${install[@]}" >/dev/null
}

python_is_usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && python_is_usable "$candidate"; then
            command -v "$candidate"
            return
        fi
        [ "$candidate" != "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python >= 3.11"
    done
    return 1
}

has_headers() { "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# clang alone does not bring the fuzzer's and the sanitizers' runtime; the package's name holds clang's major version
clang_has_fuzzer() {
    local runtime
    runtime=$(clang -fsanitize=fuzzer,address -### -x c /dev/null 2>&1 | grep -o '[^" ]*libclang_rt[.]fuzzer[^" ]*[.]a' | head -n 1)
    [ -n "$runtime" ] && [ -e "$runtime" ]
}

install_clang_runtime() {
    local name
    apt_update_once
    for name in "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev" libclang-rt-dev "libclang-common-$(clang -dumpversion | cut -d. -f1)-dev"; do
        if apt_knows "$name"; then apt_install "$name"; return; fi
    done
    fail "no package with clang's fuzzer runtime was found"
}

install_system_packages() {
    local missing=() name
    need() { "${@:2}" >/dev/null 2>&1 || missing+=("$1"); }
    need build-essential sh -c 'command -v cc && command -v c++ && command -v make'
    need pkg-config command -v pkg-config
    need cmake command -v cmake
    need clang command -v clang
    need curl command -v curl
    need openssl command -v openssl
    need procps command -v ps
    for name in libre2-dev:re2 libyaml-dev:yaml-0.1 libssl-dev:openssl libnghttp2-dev:libnghttp2; do
        need "${name%%:*}" pkg-config --exists "${name##*:}"
    done
    if ! python=$(find_python); then
        [ -z "${PYTHON:-}" ] || exit 1
        missing+=(python3.11 python3.11-dev python3.11-venv)
    else
        name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        need "$name-dev" has_headers "$python"
        need "$name-venv" has_venv "$python"
    fi
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
    clang_has_fuzzer || install_clang_runtime
    python=$(find_python) || fail "no Python >= 3.11 was found; set PYTHON"
}

# --- the virtual environment and the build ---

requirements() {
    "$VENV/bin/python" - <<'END'
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
for line in [*project["build-system"]["requires"], *project["project"]["dependencies"], *project["project"]["optional-dependencies"]["test"]]:
    print(line)
END
}

hash_of() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }
sources() {
    printf '%s\0' setup.py pyproject.toml fastgw/native/build_native.py
    find ext fastgw -type f \( -path 'ext/*.c' -o -name '*.cc' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' \) -print0 | sort -z
}
hash_of_sources() { { "$VENV/bin/python" -VV; sources | xargs -0 sha256sum; } | sha256sum | cut -d' ' -f1; }
is_stamped() { [ -e "$1" ] && [ "$(cat "$1")" = "$2" ]; }

install_requirements() {
    local stamp="$VENV/fastgw-requirements" hash
    hash=$(hash_of pyproject.toml)
    is_stamped "$stamp" "$hash" && return
    say "installing Python packages"
    "$VENV/bin/python" -m pip install -q --disable-pip-version-check --upgrade pip wheel
    requirements | "$VENV/bin/python" -m pip install -q --disable-pip-version-check -r /dev/stdin
    printf '%s' "$hash" >"$stamp"
}

# A compiler's chatter is of interest only when it fails.
logged() {
    local log=$1
    "${@:2}" >"$log" 2>&1 || { tail -n 60 "$log" >&2; fail "the build failed; all of its output is in $log"; }
}

# In place, so that edits of .py files need nothing, and this again (or `make`) after edits of Cython or C.
build() {
    local stamp=build/fastgw-sources hash
    hash=$(hash_of_sources)
    is_stamped "$stamp" "$hash" && return
    say "building"
    mkdir -p build
    logged build/log "$VENV/bin/python" setup.py -q build_clib build_ext --inplace -j "$CORES"
    printf '%s' "$hash" >"$stamp"
}

# The editable install makes the command and the import path. It shares the build folder, so it finds everything built.
install_editable() {
    local stamp="$VENV/fastgw-editable" hash temp
    hash="$PWD $(hash_of pyproject.toml setup.py)"
    is_stamped "$stamp" "$hash" && return
    temp=$("$VENV/bin/python" -c 'import sys, sysconfig; print(f"{sys.argv[1]}/build/temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}")' "$PWD")
    printf '[build_ext]\nparallel = %s\nbuild_temp = %s\n[build_clib]\nbuild_clib = %s\nbuild_temp = %s\n' "$CORES" "$temp" "$temp" "$temp" >build/editable.cfg
    logged build/editable.log env DIST_EXTRA_CONFIG="$PWD/build/editable.cfg" \
        "$VENV/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
    printf '%s' "$hash" >"$stamp"
}

# Beside the program, where man finds it when the program's folder is in PATH.
man_page() {
    local stamp="$VENV/fastgw-man" hash
    hash=$(hash_of tools/man_page.py fastgw/__init__.py fastgw/cli/*.py)
    is_stamped "$stamp" "$hash" && return
    "$VENV/bin/python" tools/man_page.py "$VENV/share/man/man1/fastgw.1"
    printf '%s' "$hash" >"$stamp"
}

setup() {
    install_system_packages
    # a folder that was copied or moved has scripts that name the old place
    if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        "$python" -m venv --clear "$VENV"
    fi
    install_requirements
    build
    install_editable
    man_page
}

# --- run and test ---

await_ready() {
    for _ in $(seq 300); do
        kill -0 "$1" 2>/dev/null && kill -0 "$2" 2>/dev/null || return 1
        curl -sf -o /dev/null http://127.0.0.1:15021/healthz/ready && return
        sleep 0.1
    done
    return 1
}

print_what_to_try() {
    cat <<END

The gateway serves config/quickstart. Try, in another terminal:

  curl http://localhost:$1/api/catalog -H 'Host: webapp.istioinaction.io'
  curl --cacert dev-certs/ca.crt --resolve webapp.istioinaction.io:$2:127.0.0.1 https://webapp.istioinaction.io:$2/api/catalog
  curl -i http://localhost:$1/api/catalog -H 'Host: other.example'           # 404: no Gateway or VirtualService has this host
  .venv/bin/fastgw explain config/quickstart GET http://webapp.istioinaction.io/api/catalog
  .venv/bin/fastgw proxy-config routes
  .venv/bin/fastgw proxy-config secrets
  curl -s http://localhost:15021/stats/prometheus | grep istio_requests_total

Change a file in config/quickstart and it is served at once. Ctrl-C ends the gateway.

END
}

run() {
    local http_port=${HTTP_PORT:-8080} https_port=${HTTPS_PORT:-8443} upstream_port=${UPSTREAM_PORT:-8081} upstream gateway status=0
    "$VENV/bin/fastgw" certs dev dev-certs --host webapp.istioinaction.io --credential webapp-credential
    # process groups of their own: Ctrl-C comes to this script alone, which passes one signal on
    set -m
    "$VENV/bin/fastgw" echo --port "$upstream_port" --name webapp &
    upstream=$!
    "$VENV/bin/fastgw" run config/quickstart --secrets dev-certs/secrets --listen-map "80=$http_port" \
        --listen-map "443=$https_port" --resolve "webapp=127.0.0.1:$upstream_port" "$@" &
    gateway=$!
    set +m
    trap 'kill -TERM $gateway 2>/dev/null || true' INT TERM HUP
    if await_ready "$gateway" "$upstream"; then print_what_to_try "$http_port" "$https_port"; else kill -TERM "$gateway" 2>/dev/null || true; fi
    # a signal ends a wait early; the gateway drains meanwhile
    while status=0; wait "$gateway" || status=$?; kill -0 "$gateway" 2>/dev/null; do :; done
    kill -0 "$upstream" 2>/dev/null || status=1
    kill -TERM "$upstream" 2>/dev/null || true
    wait "$upstream" 2>/dev/null || true
    return "$status"
}

install_test_packages() {
    # systemd-analyze: the units are verified where it is
    command -v systemd-analyze >/dev/null || apt_install systemd
    command -v h2load >/dev/null || apt_install nghttp2-client
    # a proxy in front: the PROXY protocol is tested with it
    [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null || apt_install haproxy
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || apt_install chromium
}

# h2spec is a Go program that is no package: built once, where there is Go, and never required
get_h2spec() {
    local bin="${XDG_CACHE_HOME:-$HOME/.cache}/fastgw/bin" go
    ! command -v h2spec >/dev/null || return 0
    [ ! -x "$bin/h2spec" ] || return 0
    go=$(command -v go || command -v /usr/local/go/bin/go) || { say "no Go, no h2spec: the tests ask its inventory by themselves"; return 0; }
    say "building h2spec"
    GOFLAGS=-mod=mod GOBIN="$bin" timeout 300 "$go" install github.com/summerwind/h2spec/cmd/h2spec@latest >/dev/null 2>&1 ||
        say "h2spec could not be built: the tests ask its inventory by themselves"
}

run_tests() {
    get_h2spec
    exec "$VENV/bin/python" -m pytest -n "${PYTEST_JOBS:-$((CORES + 1))}" "$@"
}

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

case "${1:-}" in
    setup) setup; say "ready: $VENV/bin/fastgw" ;;
    run) shift; setup; run "$@" ;;
    test) shift; setup; install_test_packages; run_tests "$@" ;;
    *) usage ;;
esac
