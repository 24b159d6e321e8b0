"""The lineage index on SQLite; `tests/full/test_full_lineage_postgresql.py` asks the same of PostgreSQL."""

import pytest

pytest.register_assert_rewrite("lineage_conformance")

from lineage_conformance import *  # noqa: E402, F403 (the suite is shared between databases)
from weighbridge.store.sql import Records  # noqa: E402 (after the line above)


@pytest.fixture
def records(tmp_path):
    made = Records.open(tmp_path / "registry.db", create=True)
    yield made
    made.close()
