"""What one file and one document may hold: far above real configurations, low enough that hostile ones are cheap."""

from __future__ import annotations

FILE_BYTES = 256 << 20
DOCUMENT_BYTES = 4 << 20
DEPTH = 100
"""Levels of nesting in one document."""
VALUES = 16_000_000
"""Values in one document or List, aliases not expanded: 100,000 VirtualServices have about 5 millions."""
ALIAS_NODES = 100_000
"""Values that the aliases of one YAML document may stand for, together."""
