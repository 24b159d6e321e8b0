"""What our log keeps of a signature, as Rekor writes it: canonical JSON (RFC 8785), compared byte for byte by clients.

| log form | an envelope | a signature over a file |
|---|---|---|
| v1 | `dsse` 0.0.1 (`bundle.log_body`) | `hashedrekord` 0.0.1 |
| v2 | `hashedrekord` 0.0.2, of the digest of PAE | `hashedrekord` 0.0.2 |

`entries` reads all of them, and others.
"""

from __future__ import annotations

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.keys.public import der_of_pem, details_of_pem
from weighbridge.trust.bundle import DIGESTS
from weighbridge.trust.dsse import encode64

HASHEDREKORD = "hashedrekord"


def hashedrekord1_body(digest: Digest, signature: bytes, verifier_pem: str) -> bytes:
    """Return a version 0.0.1 body; `verifier_pem` is the certificate or public key in PEM."""
    spec: dict[str, JSON] = {
        "data": {"hash": {"algorithm": digest.algorithm, "value": digest.hex}},
        "signature": {
            "content": encode64(signature),
            "publicKey": {"content": encode64(verifier_pem.encode())},
        },
    }
    return canonical({"apiVersion": "0.0.1", "kind": HASHEDREKORD, "spec": spec})


def hashedrekord2_body(digest: Digest, signature: bytes, public_pem: str, certificate: bytes = b"") -> bytes:
    """Return a version 0.0.2 body: the certificate (DER) where there is one, else the key; both name its kind."""
    verifier: dict[str, JSON] = {"keyDetails": details_of_pem(public_pem)}
    if certificate:
        verifier["x509Certificate"] = {"rawBytes": encode64(certificate)}
    else:
        verifier["publicKey"] = {"rawBytes": encode64(der_of_pem(public_pem))}
    spec: dict[str, JSON] = {
        "hashedRekordV002": {
            "data": {
                "algorithm": DIGESTS[digest.algorithm],
                "digest": encode64(bytes.fromhex(digest.hex)),
            },
            "signature": {"content": encode64(signature), "verifier": verifier},
        }
    }
    return canonical({"apiVersion": "0.0.2", "kind": HASHEDREKORD, "spec": spec})
