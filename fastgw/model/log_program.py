"""The access log format as a flat program: what a worker runs for each finished request.

A program is a list of (operation, argument) pairs. Operations, in the worker's words:

- those of ``fastgw.model.values``
- ``limit`` N: the value of the next operation is cut to its first N bytes (before escaping)
- ``json`` ON|OFF: until switched off, every value is written as a JSON string body: escaped, without the quotes, which the compiler
  of the format puts around it unless the value is a number that is never missing.

Missing values print "-". Bytes from outside are escaped: CR, LF, quotes, backslash, controls and 0x7F.. as \\xHH.
"""

from __future__ import annotations

Program = list[tuple[str, str]]
