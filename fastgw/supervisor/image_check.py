"""The one look at an image and its credentials before workers get them: sealed, and every offset in them right."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fastgw.native._native import ffi, lib
from fastgw.supervisor import memfd


class ImageRefused(Exception):
    """The image must not be served; the text says why."""


def check_image(fd: int) -> int:
    """Size in bytes of a good image. Raises ImageRefused. Takes milliseconds a megabyte without the interpreter's lock."""
    return _check(fd, "the image", lib.fgw_image_check)


def check_credentials(fd: int) -> int:
    """Size in bytes of a good credentials block, 0 for no descriptor (-1). Raises ImageRefused."""
    return _check(fd, "the credentials block", lib.fgw_credentials_check) if fd >= 0 else 0


def _check(fd: int, what: str, check: Callable[[Any, int], Any]) -> int:
    if not memfd.is_sealed(fd):
        raise ImageRefused(f"{what} is not sealed")
    size_bytes = os.fstat(fd).st_size
    if size_bytes == 0:
        raise ImageRefused(f"{what} is empty")
    with memfd.map_read_only(fd) as mapped:
        block = ffi.from_buffer(mapped)
        try:
            verdict = int(check(block, size_bytes))
        finally:
            ffi.release(block)
    if verdict <= 0:
        raise ImageRefused(f"{what}: {ffi.string(lib.fgw_reason_name(-verdict)).decode()}")
    return size_bytes
