"""A private key under a password: PKCS #8 encrypted with PBES2, scrypt and AES-256-CBC (RFC 8018, RFC 7914).

The crypto library's own way to write such a file turns a password into a key with 2048 rounds of PBKDF2, which a
graphics card repeats millions of times a second. It reads what is written here, and so does openssl.
"""

from __future__ import annotations

import base64

from weighbridge.keys.spelling import integer, wrapped

SCRYPT = (2**14, 8, 1)
"""N, r and p: 16 MiB and some 40 ms for each guess; more memory than this openssl refuses to read."""
SECRET = (2, 8, 1)
"""For a passphrase of 128 random bits or more, which no amount of guessing finds: one derivation, no delay."""

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")


def encrypt(key: bytes, password: str, *, random: bool = False) -> bytes:
    """Return a PKCS #8 key (DER) as `ENCRYPTED PRIVATE KEY` in PEM; salt and vector are the crypto library's.

    `random` says that the password has at least 128 random bits, so that deriving a key from it need not be dear.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    from cryptography.hazmat.primitives.padding import PKCS7

    fresh = AESGCM.generate_key(bit_length=256)
    salt, vector = fresh[:16], fresh[16:]
    scrypt = SECRET if random else SCRYPT
    secret = Scrypt(salt, 32, *scrypt).derive(password.encode())
    padder = PKCS7(128).padder()
    padded = padder.update(key) + padder.finalize()
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(vector)).encryptor()
    sealed = encryptor.update(padded) + encryptor.finalize()
    costs = b"".join(integer(value) for value in scrypt)
    derivation = wrapped(0x30, _SCRYPT + wrapped(0x30, wrapped(0x04, salt) + costs))
    cipher = wrapped(0x30, _AES_256_CBC + wrapped(0x04, vector))
    scheme = wrapped(0x30, _PBES2 + wrapped(0x30, derivation + cipher))
    text = base64.b64encode(wrapped(0x30, scheme + wrapped(0x04, sealed))).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    body = "\n".join(
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]
    )
    return body.encode("ascii")
