"""The cffi module: declarations of ext/ as cffi reads them from the headers."""

from typing import Any

ffi: Any
lib: Any
