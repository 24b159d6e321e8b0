"""Bundles in order of every kind, each with the trusted root, the file and the time that belong to it."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "trust"))

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore_issuing import BEGIN, END, NOW, Leaf, Tsa, authority, chain, key, private, spki
from sigstore_world import ARTIFACT, FILES, ORIGIN1, ORIGIN2, STATEMENT, Cosigner, Forged

from weighbridge.ledger.checkpoint import log_id_of
from weighbridge.trust.dsse import encode64
from weighbridge.trust.roots import (
    CertificateAuthority,
    CtLog,
    LogKey,
    Roots,
    TimestampAuthority,
    Window,
    Witness,
)
from weighbridge.trust.trusted_root import write_trusted_root

WINDOW = Window(BEGIN, END)
KINDS = ("ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa")
SECOND_TSA = Tsa(root=("second tsa root", "rsa"), holder=("second tsa", "rsa"))
COSIGNERS = (Cosigner(), Cosigner("other.test", "ml-dsa-44"))
BROUGHT = {"0.1": "application/vnd.dev.sigstore.bundle+json;version=0.1", "0.2": "application/vnd.dev.sigstore.bundle+json;version=0.2", "0.3": "application/vnd.dev.sigstore.bundle+json;version=0.3"}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One question to both verifiers."""

    bundle: bytes
    root: bytes
    content: bytes
    is_file: bool
    now: datetime = NOW
    witnesses: tuple[Witness, ...] = ()
    base: str = ""
    field: str = ""
    """What was changed."""
    done: str = ""
    """How it was changed."""


def _log(name, kind, origin):
    pem = key(name, kind).public_pem
    log_id = bytes.fromhex(log_id_of(origin, pem).hex)
    return LogKey(log_id, pem, WINDOW, origin, f"https://{origin.partition(' - ')[0]}")


@cache
def roots() -> Roots:
    """Whose word is taken in all of these: logs of each kind of key, two of every authority."""
    logs = [_log("log", kind, ORIGIN1) for kind in KINDS] + [_log("log2", kind, ORIGIN2) for kind in KINDS]
    second = authority("second root", ("second root", "ecdsa-p256"))
    return Roots(
        logs=tuple(logs),
        authorities=tuple(CertificateAuthority(row, WINDOW) for row in (chain(), (second,))),
        ctlogs=tuple(
            CtLog(
                hashlib.sha256(spki(private("ct", kind))).digest(),
                key("ct", kind).public_pem,
                WINDOW,
                "https://ct.test",
            )
            for kind in ("ecdsa-p256", "rsa")
        ),
        timestamps=tuple(TimestampAuthority(tsa.chain, WINDOW) for tsa in (Tsa(), SECOND_TSA)),
    )


def _prehashed(kind):
    """A file signed by a key on a larger curve over SHA-256, as Sigstore's older clients do."""
    return {"leaf": Leaf(kind), "signature": private("leaf", kind).sign(ARTIFACT, ec.ECDSA(hashes.SHA256()))}


@cache
def specifications() -> dict[str, Forged]:
    """What each base is made of, where it is made of one entry and written in version 0.3."""
    large = {"others": tuple(b"%d" % number for number in range(37)), "index": 20}
    found = {
        "dsse": Forged("dsse"),
        "dsse, stamped": Forged("dsse", tsas=(Tsa(),)),
        "dsse, no promise": Forged("dsse", promise=False, tsas=(Tsa(),)),
        "dsse, stamped twice": Forged("dsse", tsas=(Tsa(), SECOND_TSA)),
        "dsse, stamp without certificate": Forged("dsse", tsas=(Tsa(embed=False),)),
        "dsse, cosigned": Forged("dsse", cosigners=COSIGNERS, extensions=("Timestamp: 1",)),
        "dsse, large tree": Forged("dsse", outer_index=1_000_020, **large),
        "dsse, RSA certificate log": Forged("dsse", leaf=Leaf(ct=(("ct", "rsa"),))),
        "hashedrekord": Forged("hashedrekord"),
        "hashedrekord, stamped": Forged("hashedrekord", tsas=(SECOND_TSA,), **large),
        "hashedrekord, no promise": Forged("hashedrekord", promise=False, tsas=(Tsa(),)),
        "hashedrekord, P-384": Forged("hashedrekord", **_prehashed("ecdsa-p384")),
        "hashedrekord, P-521": Forged("hashedrekord", **_prehashed("ecdsa-p521")),
        "dsse2": Forged("dsse2"),
        "dsse2, stamped twice": Forged("dsse2", tsas=(Tsa(), SECOND_TSA)),
        "dsse2, cosigned": Forged("dsse2", cosigners=COSIGNERS, **large),
        "hashedrekord2": Forged("hashedrekord2"),
        "hashedrekord2, cosigned": Forged("hashedrekord2", cosigners=COSIGNERS[:1], tsas=(SECOND_TSA,)),
    }
    for kind in KINDS[1:]:
        found[f"dsse, log of {kind}"] = Forged("dsse", log=("log", kind))
    for kind in KINDS[:3] + KINDS[4:]:
        found[f"dsse2, log of {kind}"] = Forged("dsse2", log=("log2", kind))
        found[f"hashedrekord2, log of {kind}"] = Forged("hashedrekord2", log=("log2", kind))
    return found


@cache
def wider() -> dict[str, Forged]:
    """Bases that we accept and sigstore does not, whole kinds: with them only our refusals are looked at."""
    kinds = ("dsse-hashedrekord", "intoto", "intoto-first", "dsse2-old")
    found = {kind: Forged(kind) for kind in kinds}
    found |= {f"leaf of {kind}": Forged("dsse", leaf=Leaf(kind)) for kind in KINDS[1:]}
    found["two certificate logs"] = Forged("dsse", leaf=Leaf(ct=(("ct", "ecdsa-p256"), ("ct", "rsa"))))
    return found


SPECIAL = ("two logs", "dsse, chain in version 0.1", "dsse, chain in version 0.2")
"""Bases that are no single `Forged`."""
CHAIN = "dsse, chain in version 0.3"


def names() -> tuple[str, ...]:
    """The bases that both verifiers accept (of several logs: each by itself)."""
    return (*specifications(), *SPECIAL)


@cache
def base(name: str) -> Case:
    """Make one of `names` or of `wider`."""
    if name == "two logs":
        return replace(case(_two_logs(), "dsse"), base=name)
    if name in (*SPECIAL, CHAIN):
        return replace(_older(name.rpartition(" ")[2]), base=name)
    forged = (specifications() | wider())[name]
    return replace(case(forged.build(), forged.kind), base=name)


def case(bundle, kind: str, known: Roots | None = None, **changes) -> Case:
    """Put a bundle beside the root and the file of its kind."""
    said = {"content": ARTIFACT if kind in FILES else STATEMENT, "is_file": kind in FILES} | changes
    data = bundle if isinstance(bundle, bytes) else bundle.to_json()
    witnesses = tuple(one.known for one in COSIGNERS)
    return Case(data, write_trusted_root(known or roots()), witnesses=witnesses, **said)


def _two_logs():
    first = Forged("dsse", tsas=(Tsa(),)).build()
    other = Forged("dsse2", signature=first.envelope.signatures[0].sig, tsas=()).build()
    return replace(first, entries=(*first.entries, *other.entries))


def _older(version: str) -> Case:
    document = json.loads(Forged("dsse").build().to_json())
    material = document["verificationMaterial"]
    material["x509CertificateChain"] = {
        "certificates": [material.pop("certificate"), {"rawBytes": encode64(chain()[0])}]
    }
    document["mediaType"] = BROUGHT[version]
    return case(json.dumps(document).encode(), "dsse")
