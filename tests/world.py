"""The world outside, small and on loopback: real protocols, real bytes, and knobs for every lie it can tell."""

from __future__ import annotations

from world_hub import Hub

__all__ = ["Hub"]
