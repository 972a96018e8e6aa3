"""The demo as a file of its own: `python app.py`; the same as `speechkit demo`."""

from __future__ import annotations

import sys

from speechkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
