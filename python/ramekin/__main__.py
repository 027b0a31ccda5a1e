"""``python -m ramekin`` is the command ``ramekin``."""

from __future__ import annotations

import sys

from ramekin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
