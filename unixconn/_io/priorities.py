"""The priorities of sources and operations: of those that are ready, the lowest number comes first."""

from __future__ import annotations

PRIORITY_HIGH = -100
PRIORITY_DEFAULT = 0
PRIORITY_HIGH_IDLE = 100
PRIORITY_DEFAULT_IDLE = 200
PRIORITY_LOW = 300
