"""How a public key is written: SubjectPublicKeyInfo in DER, one spelling for each key, read without any library.

Were two spellings of one key accepted, one signer would have two names. So an elliptic point is uncompressed
(RFC 5480), an RSA key has the parameters NULL (RFC 3279) and integers in the fewest bytes (X.690), and what is
not written exactly so is no key here.
"""

from __future__ import annotations

from dataclasses import dataclass

from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Algorithm

RSA_BITS = range(2048, 8192 + 1)
"""Sizes of RSA modulus that are used: below is too weak, above costs a verifier too much."""
RSA_EXPONENTS = range(65537, 2**31)
"""Public exponents: smaller ones are fragile (FIPS 186-5), and verifiers written in Go read 31 bits."""

# SubjectPublicKeyInfo up to the key itself, and how long that is: RFC 5480 section 2, RFC 8410 section 4, RFC 9881
# section 4. An elliptic prefix ends with 04, which says that the point is uncompressed.
_FIXED: tuple[tuple[Algorithm, bytes, int], ...] = (
    ("ecdsa-p256", bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200" + "04"), 64),
    ("ecdsa-p384", bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200" + "04"), 96),
    ("ecdsa-p521", bytes.fromhex("30819b301006072a8648ce3d020106052b8104002303818600" + "04"), 132),
    ("ed25519", bytes.fromhex("302a300506032b6570032100"), 32),
    ("ml-dsa-44", bytes.fromhex("30820532300b06096086480165030403110382052100"), 1312),
)
_PRIME = 2**255 - 19
_SMALL = frozenset(
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "ec" + "ff" * 30 + "7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)
"""The y of each point of Ed25519 whose order is 1, 2, 4 or 8: for such a key everybody can sign."""

_RSA = bytes.fromhex("300d06092a864886f70d0101010500")


@dataclass(frozen=True, slots=True)
class Spelled:
    """A key as it was written: `raw` is what the library wants (point with its 04, raw key, or the DER for RSA)."""

    algorithm: Algorithm
    raw: bytes
    bits: int = 0
    """The size of an RSA modulus; 0 for kinds of one size."""


def read_spki(der: bytes) -> Spelled:
    """Read a SubjectPublicKeyInfo; raises VerificationFailed(key.form) unless it is a kind we know, in its spelling."""
    for algorithm, prefix, length in _FIXED:
        if der.startswith(prefix) and len(der) == len(prefix) + length:
            if algorithm == "ed25519":
                _check_edwards(der[len(prefix) :])
            start = len(prefix) - (1 if algorithm.startswith("ecdsa") else 0)
            return Spelled(algorithm, der[start:])
    if _RSA in der[:32]:
        return _rsa(der)
    raise unusable("known are ECDSA over P-256, P-384 and P-521 (uncompressed), Ed25519, RSA and ML-DSA-44")


def unusable(cause: str) -> VerificationFailed:
    """Say that a public key cannot be used."""
    return VerificationFailed(
        "this public key cannot be used",
        cause=cause,
        remedy="make one with: weighbridge key new",
        check="key.form",
    )


def _check_edwards(raw: bytes) -> None:
    """Refuse what RFC 8032 section 5.1.3 lets through some readers: a second spelling of y, and weak points."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)  # the highest bit is the sign of x
    if y >= _PRIME or y in _SMALL:
        raise unusable("it is a point for which everybody can sign, or another spelling of one")


def _rsa(der: bytes) -> Spelled:
    """Read an RSA key by writing what was read once more: any other spelling differs somewhere (RFC 8017 A.1.1)."""
    try:
        outer, _ = _element(der, 0x30)
        bits, _ = _element(outer.removeprefix(_RSA), 0x03)
        pair, _ = _element(bits.removeprefix(b"\0"), 0x30)
        modulus, tail = _element(pair, 0x02)
        exponent, _ = _element(tail, 0x02)
    except IndexError:
        raise unusable("it is cut short") from None
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    key = wrapped(0x30, integer(n) + integer(e))
    again = wrapped(0x30, _RSA + wrapped(0x03, b"\0" + key))
    if again != der:  # what followed any of the parts is missing in it as well
        raise unusable("an RSA key that is not written in DER as RFC 8017 and RFC 3279 want it")
    if n.bit_length() not in RSA_BITS or not n % 2:
        raise unusable(f"RSA keys have {RSA_BITS.start} to {RSA_BITS.stop - 1} bits")
    if e not in RSA_EXPONENTS or not e % 2:
        raise unusable("an RSA key needs an odd public exponent from 65537 to 2147483647")
    return Spelled("rsa", der, n.bit_length())


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Take the first DER element apart; returns its content and what follows. Raises IndexError."""
    if data[0] != tag:
        raise IndexError
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        raise IndexError
    return data[start : start + size], data[start + size :]


def wrapped(tag: int, content: bytes) -> bytes:
    """Write one DER element (X.690 section 10)."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def integer(value: int) -> bytes:
    """Write a positive INTEGER in the fewest bytes."""
    return wrapped(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
