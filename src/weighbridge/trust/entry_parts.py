"""The parts that all kinds of log entries are made of: digests and verifiers, as Rekor's versions 1 and 2 write them.

Whoever reads an entry reads these alike: the verifier, which holds them against a bundle (`entries`), and the
monitor, which has only the entry. All raise ValueError, TypeError or KeyError for anything else.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from weighbridge.core.digest import Digest
from weighbridge.trust.bundle import DIGESTS
from weighbridge.trust.dsse import decode64

_PEM = re.compile(
    r"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n([A-Za-z0-9+/=\r\n]{1,65536})-----END \1-----\s{0,2}"
)
_THEIRS = {theirs: ours for ours, theirs in DIGESTS.items()}


def digest1(value: Any) -> Digest:
    """Read a digest of version 1: `algorithm` and hexadecimal `value`."""
    if value["algorithm"] not in DIGESTS:
        raise ValueError(f"its digest is none of {', '.join(DIGESTS)}")
    return Digest(value["algorithm"], value["value"])


def digest2(value: Any) -> Digest:
    """Read a digest of version 2: `algorithm` in protobuf's words and `digest` in base64."""
    if value["algorithm"] not in _THEIRS:
        raise ValueError(f"its digest is none of {', '.join(_THEIRS)}")
    return Digest(_THEIRS[value["algorithm"]], decode64(value["digest"]).hex())


def verifier1(value: Any) -> tuple[bool, bytes]:
    """Read a verifier of version 1, base64 of one PEM block: whether it is a certificate, and its DER."""
    match = _PEM.fullmatch(decode64(value).decode("ascii"))
    if match is None:
        raise ValueError("its verifier is not one certificate or public key in PEM")
    try:
        der = base64.b64decode(re.sub(r"[\r\n]", "", match[2]), validate=True)
    except binascii.Error as error:
        raise ValueError("the PEM of its verifier is damaged") from error
    return match[1] == "CERTIFICATE", der


def verifier2(value: Any) -> tuple[bool, bytes]:
    """Read a verifier of version 2: whether it is a certificate, and its DER."""
    certificate, key = value.get("x509Certificate"), value.get("publicKey")
    if (certificate is None) == (key is None):
        raise ValueError("its verifier is not one certificate or public key")
    return certificate is not None, decode64((certificate or key)["rawBytes"])
