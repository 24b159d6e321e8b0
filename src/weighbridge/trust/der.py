"""Writing DER (X.690): the few shapes that certificates and timestamps are made of, as bytes in and bytes out.

Written by hand because the signature of a certificate is made through the `Signer` port, which no library's
builder takes, and because the same bytes must come out with and without one extension (RFC 6962 section 3.2).
"""

from __future__ import annotations

from datetime import UTC, datetime

NULL = b"\x05\x00"


def tlv(tag: int, *parts: bytes) -> bytes:
    """Write tag, definite length in its shortest form, and the parts as value."""
    value = b"".join(parts)
    size = len(value)
    if size < 0x80:
        return bytes((tag, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + value


def sequence(*parts: bytes) -> bytes:
    """Write a SEQUENCE."""
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    """Write a SET OF, sorted as DER demands (X.690 section 11.6)."""
    return tlv(0x31, *sorted(parts))


def explicit(number: int, *parts: bytes) -> bytes:
    """Write a constructed context-specific tag below 31."""
    return tlv(0xA0 | number, *parts)


def implicit(number: int, value: bytes) -> bytes:
    """Write a primitive context-specific tag below 31."""
    return tlv(0x80 | number, value)


def integer(value: int) -> bytes:
    """Write an INTEGER in two's complement, as short as it can be."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return tlv(0x02, value.to_bytes(size, "big", signed=True))


def true() -> bytes:
    """Write BOOLEAN TRUE; FALSE is a default wherever we use it, and defaults are left out."""
    return b"\x01\x01\xff"


def octets(value: bytes) -> bytes:
    """Write an OCTET STRING."""
    return tlv(0x04, value)


def bits(value: bytes, unused: int = 0) -> bytes:
    """Write a BIT STRING with so many unused bits at its end."""
    return tlv(0x03, bytes((unused,)), value)


def utf8(text: str) -> bytes:
    """Write a UTF8String."""
    return tlv(0x0C, text.encode())


def oid(dotted: str) -> bytes:
    """Write an OBJECT IDENTIFIER (X.690 section 8.19)."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    value = b""
    for part in (40 * first + second, *rest):
        digits = [part & 0x7F]
        while part := part >> 7:
            digits.append(0x80 | part & 0x7F)
        value += bytes(reversed(digits))
    return tlv(0x06, value)


def generalized_time(moment: datetime) -> bytes:
    """Write a GeneralizedTime in UTC and whole seconds (RFC 5280 section 4.1.2.5.2)."""
    return tlv(0x18, moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())


def time(moment: datetime) -> bytes:
    """Write a validity time: UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5)."""
    if moment.astimezone(UTC).year >= 2050:
        return generalized_time(moment)
    return tlv(0x17, moment.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())
