"""The access log format as a flat program: what a worker runs for each finished request.

A program is a list of (operation, argument) pairs. Operations, in the worker's words:

- ``text`` ARG: the literal bytes of ARG
- ``start_time`` FORMAT: wall-clock start; "" is 2026-01-02T03:04:05.678Z
- ``method`` ``path`` (as sent, with query) ``protocol`` ``code`` ``flags`` ``details`` ``termination_details``
  ``transport_failure``
  ``bytes_received`` ``bytes_sent`` ``duration`` (ms) ``upstream_service_time`` (ms) ``authority`` ``request_id``
  ``upstream_host`` ``upstream_cluster`` ``upstream_local_address`` ``downstream_local_address`` ``downstream_remote_address``
  ``downstream_remote_address_without_port`` ``downstream_remote_port`` ``requested_server_name`` ``route_name`` ``virtual_service``
  ``reject_reason`` ``attempts`` ``listener``
- ``request_header`` NAME, ``response_header`` NAME (lower case; NAME?ALT gives the alternative, both lower case)
- ``limit`` N: the value of the next operation is cut to its first N bytes (before escaping)
- ``json`` ON|OFF: until switched off, every value is written as a JSON string body: escaped, without the quotes, which the compiler
  of the format puts around it unless the value is a number that is never missing.

Missing values print "-". Bytes from outside are escaped: CR, LF, quotes, backslash, controls and 0x7F.. as \\xHH.
"""

from __future__ import annotations

Program = list[tuple[str, str]]
