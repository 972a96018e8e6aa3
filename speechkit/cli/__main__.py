"""`python -m speechkit.cli` is `speechkit`."""

from __future__ import annotations

import sys

from speechkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
