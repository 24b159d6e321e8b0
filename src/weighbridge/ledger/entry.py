"""What the log says of one entry: its position and time under its signature, and the proof that it is in the tree."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from weighbridge.core.digest import Digest
from weighbridge.keys.ports import Signer


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry: its index, when it was taken in (seconds since 1970), its body, and the log's promise of it.

    `promise` is the signed entry timestamp (Rekor v1) over body, time, log and index. A log of form v2 makes
    none and vouches for no time: the promise is empty and the time 0.
    """

    index: int
    integrated_time: int
    body: bytes
    promise: bytes


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That an entry is in the tree of `size` with `root`, which the signed `checkpoint` vouches for."""

    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str


def promise_message(body: bytes, integrated_time: int, log_id: Digest, index: int) -> bytes:
    """Return the bytes that are signed: RFC 8785 JSON, the time in seconds since 1970, the log id in hex.

    Written out by hand: no member needs escaping, and this is done for every entry of a log.
    """
    text = base64.b64encode(body).decode("ascii")
    return (
        f'{{"body":"{text}","integratedTime":{integrated_time:d},"logID":"{log_id.hex}","logIndex":{index:d}}}'
    ).encode("ascii")


def signed_entry_timestamp(
    log_signer: Signer, body: bytes, integrated_time: int, log_id: Digest, index: int
) -> bytes:
    """Sign that `body` is entry `index` since `integrated_time`."""
    return log_signer.sign(promise_message(body, integrated_time, log_id, index))


def proof_file(index: int, proof: InclusionProof) -> str:
    """Write the proof as a file that stands alone (C2SP tlog-proof, version 1)."""
    hashes = [base64.b64encode(step).decode("ascii") for step in proof.hashes]
    return "\n".join(["c2sp.org/tlog-proof@v1", f"index {index}", *hashes, "", proof.checkpoint])
