"""cffi builder of ``fastgw.native._native``: the control side's view of ext/.

The declarations are read from the headers themselves (the text between the cffi marks), so that no number and no layout
is written down twice.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parents[2]
HEADERS = [
    "base",
    "http1",
    "http2",
    "chunked",
    "uri",
    "cidr",
    "proxy_proto",
    "forwarded",
    "tls_hello",
    "image",
    "route",
    "regex",
    "rewrite",
    "sticky",
    "credentials",
    "state",
    "holders",
    "balance",
    "grpc",
    "retries",
    "guard",
    "overload",
    "rate",
]
MARKED = re.compile(r"/\* cffi:begin \*/(.*?)/\* cffi:end \*/", re.S)


def declarations() -> str:
    """The cffi text of all headers, in order of dependence."""
    parts = []
    for name in HEADERS:
        text = (ROOT / "ext/include/fgw" / f"{name}.h").read_text()
        parts.extend(MARKED.findall(text))
    return "\n".join(parts)


def make() -> FFI:
    builder = FFI()
    builder.cdef(declarations(), packed=False)
    builder.set_source(
        "fastgw.native._native",
        "\n".join(f'#include "fgw/{name}.h"' for name in HEADERS),
        include_dirs=["ext/include"],
        libraries=["fgw_regex", "fgw_ext", "re2", "stdc++"],
        extra_compile_args=["-O2", "-fno-strict-aliasing"],
    )
    return builder


ffibuilder = make()

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
