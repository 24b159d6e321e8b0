"""Our signers as TUF metadata knows them: the key in `securesystemslib`'s form, and signed metadata as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weighbridge.core.errors import UsageError
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import der_of_pem

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey
    from tuf.api.metadata import Signed

ALGORITHMS = ("ecdsa-p256", "ecdsa-p384", "ed25519")
"""What every TUF client verifies."""


def metadata_key(signer: Signer) -> SSlibKey:
    """Return the public key as metadata holds it; raises UsageError for kinds that clients do not verify."""
    from cryptography.hazmat.primitives.serialization import load_der_public_key
    from securesystemslib.signer import SSlibKey

    if signer.algorithm not in ALGORITHMS:
        raise UsageError(
            f"a key of kind {signer.algorithm} does not sign a TUF repository",
            remedy=f"use one of: {', '.join(ALGORITHMS)}",
        )
    return SSlibKey.from_crypto(load_der_public_key(der_of_pem(signer.public_pem)))


def signing(signed: Signed, signers: Sequence[Signer]) -> bytes:
    """Return metadata signed by each, as the bytes that are served (TUF specification section 4.2)."""
    from securesystemslib.signer import Signature
    from tuf.api.metadata import Metadata
    from tuf.api.serialization.json import CanonicalJSONSerializer, JSONSerializer

    metadata = Metadata(signed)
    message = CanonicalJSONSerializer().serialize(signed)
    for signer in signers:
        key = metadata_key(signer)
        metadata.signatures[key.keyid] = Signature(key.keyid, signer.sign(message).hex())
    return bytes(metadata.to_bytes(JSONSerializer(compact=False)))
