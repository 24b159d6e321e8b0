"""The signed file as a verifier needs it: its digests, and its bytes where a signature is over these alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.public import HASHES, algorithm_of_pem, verify_digest, verify_signature


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that the caller read and hashed itself; a digest out of a bundle shows nothing."""

    digests: tuple[Digest, ...]
    """One for each algorithm: sha256, and sha384 or sha512 where keys on larger curves sign."""
    data: bytes | None = None
    """The bytes; only signatures by Ed25519 keys need them."""

    @classmethod
    def of(cls, data: bytes) -> Artifact:
        """Hash a file in memory with everything a signature may be over."""
        digests = (
            Digest(name, hashlib.new(name, data).hexdigest()) for name in ("sha256", "sha384", "sha512")
        )
        return cls(tuple(digests), data)

    @property
    def digest(self) -> Digest:
        """The digest the file goes by: its first."""
        return self.digests[0]

    def has(self, digest: Digest) -> bool:
        """Tell whether this is the file's digest; an algorithm it was not hashed with is a no."""
        return digest in self.digests


def verify_file(pem: str, artifact: Artifact, signature: bytes) -> bool:
    """Tell whether `signature` over a file is by this key.

    ECDSA and RSA are tried over the hash of their kind and over SHA-256, with which Sigstore's older clients sign
    whatever the curve. Raises VerificationFailed(bundle.artifact) where the file was not hashed with either, or
    the bytes are needed and absent.
    """
    kind = HASHES.get(algorithm_of_pem(pem))
    if kind is None:
        if artifact.data is None:
            raise missing("this kind of key signs the file itself, and only its digest is given")
        return verify_signature(pem, artifact.data, signature)
    found: Sequence[Digest] = [row for row in artifact.digests if row.algorithm in (kind, "sha256")]
    if not found:
        raise missing(f"the file's {kind} digest is not given")
    return any(verify_digest(pem, digest, signature) for digest in found)


def missing(cause: str) -> VerificationFailed:
    """Make the error for a bare signature without the file it is over."""
    return VerificationFailed(
        "the signature is over a file, which is needed to verify it",
        cause=cause,
        remedy="give the file that was signed",
        check="bundle.artifact",
    )
