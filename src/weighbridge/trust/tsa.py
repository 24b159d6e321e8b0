"""The timestamp authority (RFC 3161): a digest comes in, a signed statement goes out that it existed by now.

Every query gets an answer: a token, or a rejection that says why (section 2.4.2). What is signed is a
`TSTInfo` in CMS `SignedData` (RFC 5652) with the attributes that verifiers demand, among them the ESS
signing certificate of version 2 (RFC 5816). `sigstore` for JavaScript asks in JSON; `respond_json` takes that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from weighbridge.core.canonical import parse
from weighbridge.core.clock import Entropy, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, UsageError, WeighbridgeError
from weighbridge.keys.ports import Signer
from weighbridge.trust import der
from weighbridge.trust.dsse import decode64
from weighbridge.trust.minting import check_chain, serial_number, signature_algorithm

POLICY = "1.3.6.1.4.1.57264.2"
"""The timestamp policy of Sigstore, which its clients know; ours says no more than that."""
ACCURACY = timedelta(seconds=1)
MAX_QUERY = 16 * 1024
MAX_NONCE_BITS = 512

HASHES: Mapping[str, str] = MappingProxyType(
    {
        "sha256": "2.16.840.1.101.3.4.2.1",
        "sha384": "2.16.840.1.101.3.4.2.2",
        "sha512": "2.16.840.1.101.3.4.2.3",
    }
)
_SIZES = {name: hashlib.new(name).digest_size for name in HASHES}
_OIDS = {number: name for name, number in HASHES.items()}
_SIGNED_OVER = {"ecdsa-p256": "sha256", "ecdsa-p384": "sha384", "ecdsa-p521": "sha512", "rsa": "sha256"}

TST_INFO, SIGNED_DATA = "1.2.840.113549.1.9.16.1.4", "1.2.840.113549.1.7.2"
CONTENT_TYPE, MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
SIGNING_TIME, SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.5", "1.2.840.113549.1.9.16.2.47"

GRANTED, REJECTION = 0, 2
BAD_ALGORITHM, BAD_REQUEST, BAD_FORMAT = 0, 2, 5
TIME_NOT_AVAILABLE, BAD_POLICY, BAD_EXTENSION, SYSTEM_FAILURE = 14, 15, 16, 25


@dataclass(frozen=True, slots=True)
class Query:
    """A `TimeStampReq` that can be answered."""

    digest: Digest
    nonce: int | None = None
    certificates: bool = False
    """Whether the answer is to carry the authority's chain (`certReq`)."""


class Rejected(Exception):
    """A query that is answered with a rejection; `failure` is a bit of PKIFailureInfo."""

    def __init__(self, failure: int, text: str) -> None:
        super().__init__(text)
        self.failure = failure
        self.text = text


class TimestampService:
    """A timestamp key with its chain (own certificate first, root last); raises Refused(tsa.chain), UsageError."""

    def __init__(
        self, signer: Signer, chain: Sequence[bytes], *, entropy: Entropy, policy: str = POLICY
    ) -> None:
        self.chain = tuple(chain)
        self._signer = signer
        self._entropy = entropy
        self._policy = policy
        self._own = check_chain(chain, signer, what="tsa")[0]

    def stamp(
        self, digest: Digest, now: datetime, *, nonce: int | None = None, certificates: bool = True
    ) -> bytes:
        """Return the granted response (DER) for one digest.

        Raises UsageError for digests other than SHA-256, -384 and -512, Refused(tsa.expired).
        """
        if digest.algorithm not in HASHES:
            raise UsageError(
                f"{digest.algorithm} digests are not timestamped", remedy=f"use one of: {', '.join(HASHES)}"
            )
        if not self._in_force(now):
            raise Refused(
                "the timestamp authority is not in force",
                cause=f"its certificate ends {rfc3339(self._own.not_valid_after_utc)}; now is {rfc3339(now)}",
                remedy="renew it with the offline root: weighbridge key rotate tsa",
                check="tsa.expired",
            )
        return _response(GRANTED, token=self._token(Query(digest, nonce, certificates), now))

    def respond(self, query: bytes, now: datetime) -> bytes:
        """Answer a `TimeStampReq` in DER with a `TimeStampResp` in DER, whatever was sent."""
        return self._answer(lambda: read_query(query, self._policy), now)

    def respond_json(self, query: bytes, now: datetime) -> bytes:
        """Answer a query as `sigstore` for JavaScript sends it, with a `TimeStampResp` in DER."""
        return self._answer(lambda: read_json_query(query, self._policy), now)

    def _answer(self, read: Any, now: datetime) -> bytes:
        try:
            asked: Query = read()
            if not self._in_force(now):
                raise Rejected(TIME_NOT_AVAILABLE, "the authority's certificate is not in force")
            return _response(GRANTED, token=self._token(asked, now))
        except Rejected as refusal:
            return _response(REJECTION, refusal.text, refusal.failure)
        except WeighbridgeError as error:  # the key cannot be used: say so, and nothing of how it is kept
            return _response(REJECTION, f"the authority cannot sign now ({error.kind})", SYSTEM_FAILURE)

    def _in_force(self, now: datetime) -> bool:
        return self._own.not_valid_before_utc <= now <= self._own.not_valid_after_utc

    def _token(self, query: Query, now: datetime) -> bytes:
        """Return the `TimeStampToken`: `ContentInfo` of `SignedData` (RFC 3161 section 2.4.2)."""
        info = self._info(query, now)
        digest = _algorithm(_SIGNED_OVER[self._signer.algorithm])
        attributes = self._attributes(info, now)
        signer_info = der.sequence(
            der.integer(1),
            der.sequence(self._own.issuer.public_bytes(), der.integer(self._own.serial_number)),
            digest,
            der.explicit(0, *attributes),  # [0] IMPLICIT SET OF; what is signed carries the tag of a SET
            signature_algorithm(self._signer),
            der.octets(self._signer.sign(der.set_of(*attributes))),
        )
        chain = der.explicit(0, *sorted(self.chain)) if query.certificates else b""
        content = der.sequence(der.oid(TST_INFO), der.explicit(0, der.octets(info)))
        signed = der.sequence(der.integer(3), der.set_of(digest), content, chain, der.set_of(signer_info))
        return der.sequence(der.oid(SIGNED_DATA), der.explicit(0, signed))

    def _info(self, query: Query, now: datetime) -> bytes:
        imprint = der.sequence(
            _algorithm(query.digest.algorithm), der.octets(bytes.fromhex(query.digest.hex))
        )
        return der.sequence(
            der.integer(1),
            der.oid(self._policy),
            imprint,
            der.integer(serial_number(self._entropy)),
            der.generalized_time(now),
            der.sequence(der.integer(int(ACCURACY.total_seconds()))),
            b"" if query.nonce is None else der.integer(query.nonce),
        )

    def _attributes(self, info: bytes, now: datetime) -> list[bytes]:
        """Return the signed attributes in DER order (RFC 5652 section 5.3, RFC 5816 section 2.2.1)."""
        hashed = hashlib.new(_SIGNED_OVER[self._signer.algorithm], info).digest()
        names = der.sequence(der.explicit(4, self._own.issuer.public_bytes()))
        certificate_id = der.sequence(  # SHA-256 is the default and is left out
            der.octets(hashlib.sha256(self.chain[0]).digest()),
            der.sequence(names, der.integer(self._own.serial_number)),
        )
        rows = (
            (CONTENT_TYPE, der.oid(TST_INFO)),
            (SIGNING_TIME, der.time(now)),
            (MESSAGE_DIGEST, der.octets(hashed)),
            (SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(certificate_id))),
        )
        return sorted(der.sequence(der.oid(kind), der.set_of(value)) for kind, value in rows)


def read_query(data: bytes, policy: str = POLICY) -> Query:
    """Read a `TimeStampReq` (RFC 3161 section 2.4.1); raises Rejected."""
    from asn1crypto import tsp

    if len(data) > MAX_QUERY:
        raise Rejected(BAD_FORMAT, "the query is too long")
    try:
        asked = tsp.TimeStampReq.load(data, strict=True)
        version, imprint = asked["version"].native, asked["message_imprint"]
        algorithm, hashed = imprint["hash_algorithm"]["algorithm"].dotted, imprint["hashed_message"].native
        parameters = imprint["hash_algorithm"]["parameters"].native
        wanted, nonce = asked["req_policy"], asked["nonce"].native
        wanted = wanted.dotted if wanted.native else policy
        certificates, extensions = asked["cert_req"].native, asked["extensions"].native
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Rejected(BAD_FORMAT, "this is not a timestamp query") from error
    if version != "v1":
        raise Rejected(BAD_REQUEST, "queries have version 1")
    if extensions:
        raise Rejected(BAD_EXTENSION, "no extension is supported")
    if parameters is not None:
        raise Rejected(BAD_ALGORITHM, "these hash algorithms take no parameters")
    return _query(_OIDS.get(algorithm, ""), hashed, nonce, certificates=certificates, policy=(wanted, policy))


def read_json_query(data: bytes, policy: str = POLICY) -> Query:
    """Read `{"artifactHash": base64, "hashAlgorithm": name, "certificates": bool, "nonce", "tsaPolicyOID"}`.

    Raises Rejected.
    """
    if len(data) > MAX_QUERY:
        raise Rejected(BAD_FORMAT, "the query is too long")
    try:
        asked: Any = parse(data)
        hashed, algorithm = decode64(asked["artifactHash"]), str(asked["hashAlgorithm"])
        nonce, wanted = asked.get("nonce"), asked.get("tsaPolicyOID") or policy
        certificates = asked.get("certificates", False)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Rejected(BAD_FORMAT, "this is not a timestamp query in JSON") from error
    if type(nonce) not in (int, type(None)) or type(certificates) is not bool:
        raise Rejected(BAD_FORMAT, "nonce is a number and certificates is true or false")
    name = algorithm.lower().replace("-", "")
    return _query(
        name if name in HASHES else "", hashed, nonce, certificates=certificates, policy=(wanted, policy)
    )


def _query(
    algorithm: str, hashed: bytes, nonce: int | None, *, certificates: bool, policy: tuple[object, str]
) -> Query:
    if not algorithm:
        raise Rejected(BAD_ALGORITHM, f"digests are one of {', '.join(HASHES)}")
    if len(hashed) != _SIZES[algorithm]:
        raise Rejected(BAD_FORMAT, f"a {algorithm} digest has {_SIZES[algorithm]} bytes")
    if policy[0] != policy[1]:
        raise Rejected(BAD_POLICY, f"the policy here is {policy[1]}")
    if nonce is not None and nonce.bit_length() > MAX_NONCE_BITS:
        raise Rejected(BAD_REQUEST, f"a nonce has at most {MAX_NONCE_BITS} bits")
    return Query(Digest(algorithm, hashed.hex()), nonce, certificates)


def _response(status: int, text: str = "", failure: int | None = None, *, token: bytes = b"") -> bytes:
    """Write a `TimeStampResp`; a failure is one bit of a BIT STRING without trailing zeros (X.690 section 11.2.2)."""
    rows = [der.integer(status)]
    if text:
        rows.append(der.sequence(der.utf8(text)))
    if failure is not None:
        octet, bit = divmod(failure, 8)
        rows.append(der.bits(bytes(octet) + bytes((0x80 >> bit,)), 7 - bit))
    return der.sequence(der.sequence(*rows), token)


def _algorithm(name: str) -> bytes:
    return der.sequence(der.oid(HASHES[name]))
