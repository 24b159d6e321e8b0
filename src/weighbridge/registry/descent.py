"""The lineage index, as the gate has asked it so far; see `store.lineage_index` for all it answers."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.store import lineage_index
from weighbridge.store.lineage_index import ancestors, edges_above, edges_below, shortest_paths

__all__ = ["ancestors", "descendants", "edges_above", "edges_below", "shortest_paths"]


def descendants(connection: sa.Connection, roots: Sequence[Digest]) -> list[Digest]:
    """Return every identity that surely descends from `roots`, the roots included where they are known.

    Declared edges do not count: anybody may declare, and nobody may quarantine a stranger's model by it.
    """
    return lineage_index.descendants(connection, roots, grades=lineage_index.SURE)
