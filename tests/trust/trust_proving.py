"""Asking the verifier about forged bundles: in order, it says what was proven; otherwise a test names the step that refuses."""

from dataclasses import replace

import pytest
from sigstore_issuing import NOW
from sigstore_world import ARTIFACT, Forged, roots

from weighbridge.core.errors import VerificationFailed
from weighbridge.trust.demand import Demand
from weighbridge.trust.prove import Artifact, prove

FILE = Artifact.of(ARTIFACT)
BARE = Demand(logs=0, scts=0)
"""NGC's certificate mode: nobody but the authority says anything, so the certificate must be valid now."""
STAMPED = Demand(logs=0, timestamps=1, scts=0)
"""GitHub's private attestations: a timestamp, no log, no SCT."""


def proof(bundle, **world):
    world = {"roots": roots(), "demand": Demand(), "now": NOW, "artifact": FILE} | world
    return prove(bundle, **world)


def refused(bundle, check, **world):
    with pytest.raises(VerificationFailed) as caught:
        proof(bundle, **world)
    assert caught.value.check == check, str(caught.value)
    assert caught.value.remedy
    assert caught.value.cause
    return caught.value


def two_logs(**changes):
    """One signature in both logs; `changes` are to the first."""
    first = Forged("dsse", **changes).build()
    signature = first.envelope.signatures[0].sig
    other = Forged("dsse2", signature=signature, tsas=()).build()
    return replace(first, entries=(*first.entries, *other.entries))
