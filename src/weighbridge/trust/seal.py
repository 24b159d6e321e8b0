"""Making bundles: sign a statement, put it in the log, and carry the proof away."""

from __future__ import annotations

from datetime import datetime

from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.keys.ports import Signer
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.bundle import Bundle, log_body, make_bundle
from weighbridge.trust.dsse import Envelope, sign


def sign_statement(statement: Statement, signer: Signer) -> Envelope:
    """Sign an in-toto statement."""
    return sign(PAYLOAD_TYPE, statement.encode(), signer)


def seal(envelope: Envelope, public_pem: str, log: Log, index: int) -> Bundle:
    """Make the bundle of an envelope that the log holds at `index`, proven in its newest checkpoint.

    The log's key is not needed: the promise was signed when the entry was appended. Raises NotFound or
    RegistryUnusable as `Log.prove` does.
    """
    entry, proof = log.entry(index), log.proof(index)
    return make_bundle(envelope, public_pem, log_id=log.log_id, entry=entry, proof=proof)


def log_and_seal(
    envelope: Envelope, public_pem: str, log: Log, *, log_signer: Signer, now: datetime, since: int = 0
) -> Bundle:
    """Append an envelope to the log and make its bundle; an envelope already logged is found, not logged twice.

    `since` is an index before which it cannot be: looking reads 32 bytes for every entry from there on.
    """
    log.refresh()
    body = log_body(envelope, public_pem)
    index = log.find(body, since)
    if index is None:
        index = log.append([body], signer=log_signer, now=now)[0].index
    return seal(envelope, public_pem, log, index)
