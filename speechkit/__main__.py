"""`python -m speechkit` is `speechkit`, also under torchrun: `torchrun … -m speechkit train …`."""

from __future__ import annotations

import sys

from speechkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
