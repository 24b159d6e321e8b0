"""`python -m weighbridge`: the command line."""

from __future__ import annotations

from weighbridge.cli.main import entry

if __name__ == "__main__":
    entry()
