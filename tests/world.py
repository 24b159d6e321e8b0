"""The world outside, small and on loopback: real protocols, real bytes, and knobs for every lie it can tell."""

from __future__ import annotations

from world_house import Hand, World, outcomes, safetensors
from world_hub import Hub

__all__ = ["Hand", "Hub", "World", "outcomes", "safetensors"]
