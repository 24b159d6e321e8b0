"""The log over HTTP: entries in, proofs out, as Rekor's clients of both versions and C2SP tile clients ask.

Which version is answered is the log's own form: a `v1` log signs promises and takes version 1 entries, a
`v2` log takes version 2. Reading is the same for both. Sources: rekor/openapi.yaml, rekor-tiles/api/proto
and CLIENTS.md, C2SP tlog-tiles.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import TimeoutError as TooLate
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.responses import Response

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import Clock
from weighbridge.core.errors import Locked, NotFound, UsageError, VerificationFailed
from weighbridge.ledger.batch import Committer
from weighbridge.ledger.checkpoint import form_of
from weighbridge.ledger.entry import InclusionProof, LogEntry
from weighbridge.ledger.merkle import leaf_hash
from weighbridge.ledger.sequencer import Log
from weighbridge.server.answers import BYTES_TYPE, answer, refusal, static
from weighbridge.server.desk import Asked
from weighbridge.server.submitted import Submitted, read_v1, read_v2
from weighbridge.trust.certificates import issuer_of, signer_of
from weighbridge.trust.dsse import encode64
from weighbridge.trust.keyless import Services

if TYPE_CHECKING:
    from weighbridge.ledger.batch import Logged

TEXT_TYPE = "text/plain; charset=utf-8"
PEM_FILE = "application/x-pem-file"
_UUID = re.compile(r"(?:([0-9a-f]{16}))?([0-9a-f]{64})")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_FULL_TILE = re.compile(r"tile/(?:entries|[0-9]+)/(?:x[0-9]{3}/)*[0-9]{3}")
MAX_TREE = 2**64


class TransparencyLog:
    """Answers for the log; `any_key` also logs what keys and certificates signed that this instance did not issue."""

    def __init__(self, services: Services, clock: Clock, *, any_key: bool, seconds: float) -> None:
        self._services = services
        self._log = services.log
        self._clock = clock
        self._any_key = any_key
        self._seconds = seconds
        self._tree = _tree_id(services.log)
        self.committer: Committer | None = None
        """Set while the server runs."""

    def add_v1(self, asked: Asked) -> Response:
        """`POST /api/v1/log/entries`: 201 with the entry and its proofs, 409 with the place of the same one."""
        if self._log.form != "v1":
            raise _other_form("v2", "/api/v2/log/entries")
        submitted = read_v1(asked.body)
        found = self._known(submitted)
        if found is not None:
            uuid = self._uuid(submitted.body)
            return refusal(
                409,
                f"an equivalent entry already exists in the transparency log with UUID {uuid}",
                "log.exists",
                {"Location": f"/api/v1/log/entries/{uuid}"},
            )
        done = self._add(submitted)
        uuid = self._uuid(done.entry.body)
        headers = {"Location": f"/api/v1/log/entries/{uuid}", "ETag": f'"{uuid}"'}
        return answer({uuid: self._v1(done.entry, done.proof)}, 201, headers)

    def add_v2(self, asked: Asked) -> Response:
        """`POST /api/v2/log/entries`: 201 with a TransparencyLogEntry, 409 with the index of the same one."""
        if self._log.form != "v2":
            raise _other_form("v1", "/api/v1/log/entries")
        submitted = read_v2(asked.body)
        found = self._known(submitted)
        if found is not None:
            text = f"an equivalent entry already exists in the transparency log with index {found}"
            return refusal(409, text, "log.exists")
        done = self._add(submitted)
        return answer(_v2(done.entry, done.proof, encode64(bytes.fromhex(self._log.log_id.hex))), 201)

    def by_index(self, asked: Asked) -> Response:
        """`GET /api/v1/log/entries?logIndex=`: one entry, proven in the newest tree."""
        return self._shown(_number(asked.query, "logIndex"))

    def by_uuid(self, asked: Asked) -> Response:
        """`GET /api/v1/log/entries/{uuid}`: the same by leaf hash, with or without the tree's id before it."""
        match = _UUID.fullmatch(asked.place["uuid"])
        if match is None:
            raise UsageError("this is not the id of an entry", remedy="send 64 or 80 hexadecimal digits")
        self._log.refresh()
        found = None
        if match[1] in (None, f"{self._tree:016x}"):
            found = self._log.find_leaf(bytes.fromhex(match[2]))
        if found is None:
            raise NotFound("the log has no such entry")
        return self._shown(found)

    def about(self, _: Asked) -> Response:
        """`GET /api/v1/log`: size, root and signed head."""
        self._log.refresh()
        head, note = self._log.signed_head
        return answer(
            {
                "inactiveShards": [],
                "rootHash": head.root.hex(),
                "signedTreeHead": note,
                "treeID": str(self._tree),
                "treeSize": head.size,
            }
        )

    def public_key(self, _: Asked) -> Response:
        """`GET /api/v1/log/publicKey`."""
        return static(self._log.public_pem.encode(), PEM_FILE)

    def growth(self, asked: Asked) -> Response:
        """`GET /api/v1/log/proof?firstSize=&lastSize=`: that the log only grew between two sizes."""
        if (tree := asked.query.get("treeID")) not in (None, str(self._tree)):
            raise NotFound(f"there is no tree {tree[:40]!r} here" if tree else "there is no such tree here")
        self._log.refresh()
        first = _number(asked.query, "firstSize", 1)
        last = _number(asked.query, "lastSize")
        if not 0 < first <= last:
            raise UsageError("firstSize is at least 1 and at most lastSize")
        hashes: list[JSON] = [step.hex() for step in self._log.consistency(first, last)]
        return answer({"hashes": hashes, "rootHash": self._log.root_at(last).hex()})

    def _known(self, submitted: Submitted) -> int | None:
        """Return where the log has this already; raises VerificationFailed for what it does not take."""
        self._admit(submitted, self._clock.now())
        self._log.refresh()
        return self._log.find(submitted.body)

    def _admit(self, submitted: Submitted, now: datetime) -> None:
        """Take what our own authority certified, now: whoever wants to fill the log needs a token for it."""
        if self._any_key:
            return
        if not submitted.certificate:
            raise VerificationFailed(
                "this log takes no signature by a bare key",
                cause="anybody can make one, and the log would grow without end",
                remedy="sign with a certificate of this instance, or ask its operator (serve --any-key)",
                check="log.admission",
            )
        signer_of(submitted.certificate)
        issuer_of(submitted.certificate, self._services.roots().authorities, (now,))

    def _add(self, submitted: Submitted) -> Logged:
        """Append and wait; of two who send the same at the same time, both get the one entry."""
        if self.committer is None:
            raise Locked("the log is not open yet", check="log.busy")
        future = self.committer.submit(submitted.body, once=True)
        try:
            return future.result(self._seconds)
        except TooLate:
            future.cancel()
            raise Locked(
                "the log did not get it done in time",
                cause="the entry may come to be; handing it in again does no harm",
                check="log.busy",
            ) from None

    def _shown(self, index: int) -> Response:
        self._log.refresh()
        entry = self._log.entry(index)
        return answer({self._uuid(entry.body): self._v1(entry, self._log.proof(index))})

    def _v1(self, entry: LogEntry, proof: InclusionProof) -> dict[str, JSON]:
        hashes: list[JSON] = [step.hex() for step in proof.hashes]
        verification: dict[str, JSON] = {
            "inclusionProof": {
                "checkpoint": proof.checkpoint,
                "hashes": hashes,
                "logIndex": entry.index,
                "rootHash": proof.root.hex(),
                "treeSize": proof.size,
            }
        }
        if entry.promise:
            verification["signedEntryTimestamp"] = encode64(entry.promise)
        return {
            "body": encode64(entry.body),
            "integratedTime": entry.integrated_time,
            "logID": self._log.log_id.hex,
            "logIndex": entry.index,
            "verification": verification,
        }

    def _uuid(self, body: bytes) -> str:
        """Return the id that Rekor gives an entry: sixteen digits of its tree, then its leaf hash."""
        return f"{self._tree:016x}{leaf_hash(body).hex()}"


def tiles_of(log: Callable[[], Log]) -> Callable[[Asked], Response]:
    """Return the handler of `checkpoint` and `tile/…` (C2SP tlog-tiles) of one log."""

    def resource(asked: Asked) -> Response:
        path = asked.place.get("path", "")
        name = f"tile/{path}" if path else "checkpoint"
        found = log()
        found.refresh()
        data = found.resource(name)
        if not path:
            return static(data, TEXT_TYPE)
        return static(data, BYTES_TYPE, forever=_FULL_TILE.fullmatch(name) is not None)

    return resource


def _v2(entry: LogEntry, proof: InclusionProof, key_id: str) -> JSON:
    """Write a TransparencyLogEntry in proto3 JSON, with the zeros that some readers cannot do without."""
    hashes: list[JSON] = [encode64(step) for step in proof.hashes]
    return {
        "logIndex": str(entry.index),
        "logId": {"keyId": key_id},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
        "integratedTime": "0",
        "inclusionProof": {
            "logIndex": str(entry.index),
            "rootHash": encode64(proof.root),
            "treeSize": str(proof.size),
            "hashes": hashes,
            "checkpoint": {"envelope": proof.checkpoint},
        },
        "canonicalizedBody": encode64(entry.body),
    }


def _tree_id(log: Log) -> int:
    """Return the number that ends the origin of a v1 log; a v2 log has none."""
    return int(log.origin.rpartition(" - ")[2]) % MAX_TREE if form_of(log.origin) == "v1" else 0


def _number(query: object, name: str, otherwise: int | None = None) -> int:
    assert isinstance(query, dict)
    found = query.get(name)
    if found is None and otherwise is not None:
        return otherwise
    if not isinstance(found, str) or not _NUMBER.fullmatch(found):
        raise UsageError(f"{name} is not a whole number", remedy=f"send ?{name}=…")
    return int(found)


def _other_form(form: str, path: str) -> NotFound:
    return NotFound(f"this log is of form {form}", remedy=f"send entries to {path}", check="log.form")
