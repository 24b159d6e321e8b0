"""Weighbridge: every model is pinned, scanned, converted, described, signed and proven before it may run."""

from __future__ import annotations
