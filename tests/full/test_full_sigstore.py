"""Code that is not ours reads our bundles: sigstore's parser, its Merkle proofs, its checkpoints and entry timestamps.

sigstore verifies certificates only, so its `Verifier` does not take bundles signed with a managed key. What it can be asked
is asked piece by piece, through the functions that its own verifier calls.
"""

import base64
from datetime import UTC, datetime

import pytest

from world import World

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture
def kept(tmp_path):
    world = World(tmp_path)
    folder = world.model()
    world.take(folder)
    bundle = world.say_package(folder, world.person("packer", "package"))
    yield bundle, world.registry.log.public_pem, world.people["packer"].public_pem
    world.registry.close()


def parsed(bundle):
    from sigstore_models.bundle.v1 import Bundle

    return Bundle.from_json(bundle.to_json().decode())


def keyring(pem):
    from sigstore._internal.trust import Keyring
    from sigstore_models.common import v1 as common

    der = base64.b64decode("".join(pem.split("\n")[1:-2]))
    key = common.PublicKey(
        raw_bytes=base64.b64encode(der),
        key_details=common.PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
        valid_for=common.TimeRange(start=datetime(2026, 1, 1, tzinfo=UTC)),
    )
    return Keyring([key])


def test_sigstores_own_checks_accept_what_our_log_says(kept):
    from sigstore._internal.merkle import verify_merkle_inclusion
    from sigstore._internal.rekor.checkpoint import verify_checkpoint
    from sigstore.models import TransparencyLogEntry

    bundle, log_pem, _ = kept
    entry = TransparencyLogEntry(parsed(bundle).verification_material.tlog_entries[0])
    ring = keyring(log_pem)
    verify_merkle_inclusion(entry)
    verify_checkpoint(ring, entry)
    entry._verify_set(ring)


def test_sigstores_own_checks_refuse_another_logs_key(kept):
    from sigstore._internal.rekor.checkpoint import verify_checkpoint
    from sigstore.models import TransparencyLogEntry

    from weighbridge.keys.files import generate

    bundle, _, _ = kept
    entry = TransparencyLogEntry(parsed(bundle).verification_material.tlog_entries[0])
    with pytest.raises(Exception, match=r"(?i)key|signature|checkpoint"):
        verify_checkpoint(keyring(generate().public_pem), entry)


def test_sigstores_envelope_check_accepts_our_signature(kept):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from sigstore import dsse

    bundle, _, pem = kept
    envelope = dsse.Envelope(parsed(bundle).dsse_envelope)
    assert dsse._verify(load_pem_public_key(pem.encode()), envelope) == bundle.envelope.payload


def test_the_log_entry_is_one_that_rekors_own_types_know(kept):
    from rekor_types import Dsse

    bundle, _, _ = kept
    body = Dsse.model_validate_json(bundle.entry.body)
    assert (body.kind, body.api_version) == ("dsse", "0.0.1")


def test_our_bundle_comes_back_the_same_through_their_parser(kept):
    from weighbridge.trust.bundle import Bundle

    bundle, _, _ = kept
    again = Bundle.from_json(parsed(bundle).to_json().encode())
    assert again == bundle
