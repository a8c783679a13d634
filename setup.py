"""Builds ext/ once as a static library, then every Cython module of the data plane and the cffi module over it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CHECKED = os.environ.get("FASTGW_CHECKED") == "1"
OPT = ["-O1", "-g"] if CHECKED else ["-O3", "-g1"]
C_FLAGS = [*OPT, "-std=c11", "-fvisibility=hidden", "-fno-strict-aliasing", "-Wall", "-Wextra", "-fPIC"]
# Cython's output is machine-written: its unused helpers are not findings
CY_FLAGS = [*OPT, "-std=c11", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-unreachable-code"]
CXX_FLAGS = [*OPT, "-std=c++17", "-fvisibility=hidden", "-Wall", "-Wextra", "-fPIC"]
INCLUDE = ["ext/include", "ext/src", "fastgw/native"]
HEADERS = sorted(str(p.relative_to(ROOT)) for folder in ("ext", "fastgw/native") for p in (ROOT / folder).rglob("*.h"))


def pkg_config(option: str, package: str, fallback: str) -> list[str]:
    try:
        return shlex.split(subprocess.check_output(["pkg-config", option, package], text=True))
    except (OSError, subprocess.CalledProcessError):
        return shlex.split(fallback)


def ext_sources() -> list[str]:
    """The C sources of ext/, the same list CMakeLists.txt globs."""
    return sorted(str(p.relative_to(ROOT)) for p in (ROOT / "ext/src").glob("*.c"))


LIBRARIES = [("fgw_ext", {"sources": ext_sources(), "include_dirs": INCLUDE, "cflags": C_FLAGS, "obj_deps": {"": HEADERS}})]
REGEX_SOURCES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "ext/src").glob("*.cc"))
if REGEX_SOURCES:
    LIBRARIES.append(
        ("fgw_regex", {"sources": REGEX_SOURCES, "include_dirs": INCLUDE, "cflags": CXX_FLAGS, "obj_deps": {"": HEADERS}})
    )
LINK = ["fgw_regex", "fgw_ext"] if REGEX_SOURCES else ["fgw_ext"]
SYSTEM = ["re2", "stdc++"] if REGEX_SOURCES else []
TLS = ["ssl", "crypto"]
HTTP2 = ["nghttp2"]


class BuildExt(build_ext):
    """Relinks every module when the static libraries are newer (distutils does not look at them)."""

    def build_extensions(self) -> None:
        clib = self.get_finalized_command("build_clib")
        libs = [str(Path(clib.build_clib) / f"lib{name}.a") for name in LINK]
        for ext in self.extensions:
            ext.depends = [*ext.depends, *(lib for lib in libs if os.path.exists(lib))]
            ext.library_dirs = [clib.build_clib, *ext.library_dirs]
        super().build_extensions()


def dataplane_extensions() -> list[Extension]:
    found = []
    for pyx in sorted((ROOT / "fastgw").rglob("*.pyx")):
        rel = pyx.relative_to(ROOT)
        yaml = rel.parts[1] == "sources"
        system = [*SYSTEM, *TLS, *HTTP2] if rel.parts[1] == "dataplane" else SYSTEM
        found.append(
            Extension(
                ".".join(rel.with_suffix("").parts),
                [str(rel)],
                include_dirs=INCLUDE,
                libraries=["yaml"] if yaml else [*LINK, *system],
                extra_compile_args=CY_FLAGS,
                depends=HEADERS,
            )
        )
    return found


DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKED,
    "wraparound": False,
    "cdivision": True,
    "nonecheck": True,
    "initializedcheck": CHECKED,
    "embedsignature": False,
    "auto_pickle": False,
    "binding": False,
}

setup(
    libraries=LIBRARIES,
    ext_modules=cythonize(
        dataplane_extensions(),
        compiler_directives=DIRECTIVES,
        compile_time_env=None,
        nthreads=0,
        annotate=os.environ.get("FASTGW_ANNOTATE") == "1",
    ),
    cffi_modules=["fastgw/native/build_native.py:ffibuilder"] if (ROOT / "fastgw/native/build_native.py").exists() else [],
    cmdclass={"build_clib": build_clib, "build_ext": BuildExt},
    zip_safe=False,
)
