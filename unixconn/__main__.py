"""The entry point of the command line: the program ``unixconn``, and ``python -m unixconn``."""

from __future__ import annotations

import sys

from unixconn._cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
