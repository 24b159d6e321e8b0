"""Trusted roots at their edges: size, ids that are neither of a key nor of a name, kinds that are passed over."""

import json

import pytest
from sigstore_world import ORIGIN2, make, roots

from weighbridge.core.errors import OutOfBudget
from weighbridge.ledger.checkpoint import log_id_of
from weighbridge.trust.dsse import encode64
from weighbridge.trust.trusted_root import MAX_ROOT, read_trusted_root


def changed(change, part="tlogs", at=1):
    document = json.loads(make().trusted_root)
    change(document[part][at])
    return read_trusted_root(json.dumps(document).encode())


def test_the_largest_root():
    document = make().trusted_root
    full = document + b" " * (MAX_ROOT - len(document))
    assert read_trusted_root(full) == read_trusted_root(document)
    with pytest.raises(OutOfBudget, match="larger"):
        read_trusted_root(full + b" ")


def test_an_id_binds_the_name_only_where_it_was_made_of_it():
    assert [log.origin for log in read_trusted_root(make().trusted_root).logs] == ["", ORIGIN2]

    def free(row):
        row["logId"]["keyId"] = encode64(bytes(32))

    def other_name(row):
        row["logId"]["keyId"] = encode64(bytes.fromhex(log_id_of("other.test", roots().logs[1].pem).hex))

    def nameless(row):
        del row["baseUrl"]

    for change in (free, other_name, nameless):
        assert changed(change).logs[1].origin == ""
