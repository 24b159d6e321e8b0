"""Private keys in files: readable by their owner alone, optionally under a password.

Written is PKCS #8 in PEM (RFC 5958); read are also the older forms of openssl, SEC 1 (`EC PRIVATE KEY`, RFC 5915) and
PKCS #1 (`RSA PRIVATE KEY`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    InternalError,
    NotFound,
    Refused,
    Unreadable,
    UsageError,
    VerificationFailed,
)
from weighbridge.keys.ports import ALGORITHMS, Algorithm
from weighbridge.keys.protected import encrypt
from weighbridge.keys.public import algorithm_of_pem, key_id_of_pem, pem_of_der

if TYPE_CHECKING:  # cryptography costs 30 ms, and only a verb that signs should pay them
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

    PrivateKey = (
        ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey | rsa.RSAPrivateKey
    )

Password: TypeAlias = str | Callable[[], str] | None
"""A password, how to ask for one where it is needed, or none."""

MAX_FILE = 64 * 1024
"""Bytes; a PKCS #8 file of the largest key, RSA with 8192 bits, is below seven kibibytes."""
RSA_NEW = 3072
"""Bits of RSA keys made here: as strong as P-256 (NIST SP 800-57)."""


class FileKey:
    """A private key in memory, as the `Signer` port wants it; shows only its public half."""

    __slots__ = ("_private", "algorithm", "key_id", "public_pem")

    algorithm: Algorithm
    public_pem: str
    key_id: Digest

    def __init__(self, private: PrivateKey) -> None:
        from cryptography.hazmat.primitives import serialization

        der = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._private = private
        self.public_pem = pem_of_der(der)
        self.algorithm = algorithm_of_pem(self.public_pem)
        self.key_id = key_id_of_pem(self.public_pem)

    def __repr__(self) -> str:
        return f"FileKey({self.algorithm}, {self.key_id.short})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not copied or serialised; save it with `save`")

    def sign(self, data: bytes) -> bytes:
        """Return a signature over `data` (see `ports.Signer.sign`)."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            kinds: dict[str, hashes.HashAlgorithm] = {
                "ecdsa-p256": hashes.SHA256(),
                "ecdsa-p384": hashes.SHA384(),
                "ecdsa-p521": hashes.SHA512(),
            }
            return self._private.sign(data, ec.ECDSA(kinds[self.algorithm]))
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._private.sign(data)

    def save(self, path: Path, password: str | None = None, *, random: bool = False) -> None:
        """Write the key to a new file, mode 0600, flushed to disk together with its directory entry.

        With a password the file is encrypted (see `protected`; `random` is for one that nobody chose). Raises Refused(key.exists) when anything
        is at `path` already, and Unreadable when the disk refuses.
        """
        _write_new(path, self._written(password, random=random))

    def rewrite(self, path: Path, password: str | None = None) -> None:
        """Put the key in the place of the file it came from, under another password or none.

        The new file is written beside the old one, read back and then renamed over it, so that a crash leaves one of
        the two. What the disk or a backup keeps of the old file is not reached. Raises as `save` does.
        """
        data = self._written(password)
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        _write_new(beside, data)
        try:
            if load(beside, password).key_id != self.key_id:
                raise InternalError(f"{beside} is not the key that was written")
            beside.replace(path)
            _flush_folder(path)
        except OSError as error:
            raise _disk(path, error) from None
        finally:
            beside.unlink(missing_ok=True)

    def _written(self, password: str | None, *, random: bool = False) -> bytes:
        from cryptography.hazmat.primitives import serialization

        if password == "":
            raise UsageError("an empty password protects nothing", remedy="give one, or none at all")
        encoding = serialization.Encoding.PEM if password is None else serialization.Encoding.DER
        data = self._private.private_bytes(
            encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return data if password is None else encrypt(data, password, random=random)


def generate(algorithm: str = "ecdsa-p256") -> FileKey:
    """Make a new key; its randomness is the crypto library's own. Raises UsageError for other algorithms."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

    curves: dict[str, ec.EllipticCurve] = {
        "ecdsa-p256": ec.SECP256R1(),
        "ecdsa-p384": ec.SECP384R1(),
        "ecdsa-p521": ec.SECP521R1(),
    }
    if algorithm in curves:
        return FileKey(ec.generate_private_key(curves[algorithm]))
    if algorithm == "ed25519":
        return FileKey(ed25519.Ed25519PrivateKey.generate())
    if algorithm == "rsa":
        return FileKey(rsa.generate_private_key(65537, RSA_NEW))
    if algorithm == "ml-dsa-44":
        return FileKey(mldsa.MLDSA44PrivateKey.generate())
    raise UsageError(
        f"{algorithm!r} is not a key algorithm we know", remedy=f"use one of: {', '.join(ALGORITHMS)}"
    )


def load(path: Path, password: Password = None) -> FileKey:
    """Read a private key; a password that is a function is called only when the key is under one.

    Raises NotFound; Refused with check key.link, key.file, key.owner, key.mode or key.type for a file we
    will not trust; UsageError(key.password) when a password is missing or not wanted; and
    Unreadable(key.form) when the password is wrong or the file damaged (the two look alike).
    """
    data = _read_private(path)
    if isinstance(password, str) or password is None:
        return _parse(path, data, password)
    try:
        return _parse(path, data, None)
    except UsageError:
        return _parse(path, data, password())


def _parse(path: Path, data: bytes, password: str | None) -> FileKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    secret = password.encode() if password is not None else None
    # The library's own errors are dropped (`from None`): they are about secrets and help nobody.
    try:
        private = serialization.load_pem_private_key(data, secret)
    except TypeError:
        raise _password(path, given=password is not None) from None
    except UnsupportedAlgorithm:
        raise _unknown_type(path, "the crypto library does not know it") from None
    except ValueError:
        raise _unreadable(path, data) from None
    try:
        return FileKey(cast("PrivateKey", private))
    except VerificationFailed as error:
        raise _unknown_type(path, error.cause) from None


def _unreadable(path: Path, data: bytes) -> Unreadable:
    cause, remedy = "it is not a private key in PEM, or it is damaged", "restore the key from its backup"
    if b"ENCRYPTED SIGSTORE PRIVATE KEY" in data or b"ENCRYPTED COSIGN PRIVATE KEY" in data:
        cause = "it is in cosign's own encrypted form, whose cipher our crypto library does not have"
        remedy = "make a key with `weighbridge key new KEY`, and give it to cosign as well: cosign import-key-pair --key KEY"
    elif b"OPENSSH PRIVATE KEY" in data:
        cause = "it is in the form of OpenSSH"
        remedy = "make a key with: weighbridge key new KEY"
    elif b"ENCRYPTED" in data:
        cause, remedy = "the password is wrong or the file is damaged", f"check the password, or {remedy}"
    return Unreadable(f"{path} cannot be read as a private key", cause=cause, remedy=remedy, check="key.form")


def _password(path: Path, *, given: bool) -> UsageError:
    if given:
        return UsageError(
            f"{path} has no password, and one was given",
            remedy="leave the password (WEIGHBRIDGE_KEY_PASSWORD) out, or: weighbridge key protect KEY",
            check="key.password",
        )
    return UsageError(
        f"{path} is under a password",
        remedy="give its password (the command line reads WEIGHBRIDGE_KEY_PASSWORD)",
        check="key.password",
    )


def _unknown_type(path: Path, cause: str) -> Refused:
    return Refused(
        f"{path} holds a key of a kind we do not use",
        cause=cause,
        remedy="make one with: weighbridge key new",
        check="key.type",
    )


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise Refused(
            f"{path} exists already",
            cause="a key file is never overwritten: what it signed could not be told from what comes later",
            remedy="choose another name, or move the old key away",
            check="key.exists",
        ) from None
    except OSError as error:
        raise _disk(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _flush_folder(path)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _disk(path, error) from None


def _flush_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_private(path: Path) -> bytes:
    """Read a file that only its owner can read; what is checked is the opened file, not its name."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise NotFound(f"there is no key at {path}", remedy="make one with: weighbridge key new") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _untrusted(path, "link", "it is a symbolic link", "give the path it points to") from None
        raise _disk(path, error) from None
    try:
        _check_opened(path, os.fstat(descriptor))
        return os.read(descriptor, MAX_FILE)
    except OSError as error:
        raise _disk(path, error) from None
    finally:
        os.close(descriptor)


def _check_opened(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
        raise _untrusted(path, "file", "it is not a small regular file", "give the path of a key file")
    if status.st_uid not in (os.geteuid(), 0):
        raise _untrusted(path, "owner", "it belongs to another user", "copy it to a file of your own")
    if status.st_mode & 0o077:
        raise _untrusted(
            path, "mode", "others than its owner can read or change it", f"run: chmod 600 {path}"
        )


def _untrusted(path: Path, check: str, cause: str, remedy: str) -> Refused:
    return Refused(f"{path} is not used as a key", cause=cause, remedy=remedy, check=f"key.{check}")


def _disk(path: Path, error: OSError) -> Unreadable:
    return Unreadable(
        f"{path} cannot be read or written",
        cause=os.strerror(error.errno) if error.errno else "input/output error",
        remedy="check the path, its folder's permissions and the disk",
        check="key.disk",
    )
