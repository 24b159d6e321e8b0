"""The embedded services on a bench: keys, an offline root, an intermediate, a log of certificates, a timestamp authority."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from weighbridge.keys.files import generate
from weighbridge.ledger.checkpoint import form_of
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.ca import CertificateService
from weighbridge.trust.ctlog import CertificateLog
from weighbridge.trust.development import DevelopmentIssuer
from weighbridge.trust.keyless import Services
from weighbridge.trust.minting import make_intermediate, make_root, make_timestamper
from weighbridge.trust.oidc import TokenVerifier
from weighbridge.trust.tokens import Token
from weighbridge.trust.tsa import TimestampService

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
NAME = "weighbridge.test"
CT_ORIGIN = "weighbridge.test.ct - 8"
ISSUER = "https://issuer.example"


class Counting:
    """Entropy that never repeats and is the same in every run."""

    def __init__(self, seed=1):
        self.drawn = seed << 64

    def token(self, size):
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")


@cache
def _made(name, algorithm):
    return generate(algorithm)


def service_key(name, algorithm="ecdsa-p256"):
    """One key per name and kind for the whole run."""
    return _made(name, algorithm)


def token(subject="trainer@example.org", kind="email", **changes):
    """A verified identity."""
    values = {
        "issuer": ISSUER,
        "subject": subject,
        "kind": kind,
        "expires": NOW + timedelta(minutes=5),
        "challenges": (subject,),
        "claims": {},
    }
    return Token(**(values | changes))


@dataclass
class Bench:
    """Everything that issues, at one time and in one folder."""

    ca: CertificateService
    ct: CertificateLog
    tsa: TimestampService
    entropy: Counting


def authority_chain(now=NOW, *, issuing="ca", root="ca-root", entropy=None):
    entropy = entropy or Counting(2)
    top_key = service_key(root, "ecdsa-p384")
    top = make_root(top_key, name=NAME, now=now, entropy=entropy)
    public = service_key(issuing).public_pem
    return make_intermediate(top_key, top, public, name=NAME, now=now, entropy=entropy), top


def timestamp_chain(now=NOW, *, stamping="tsa", algorithm="ecdsa-p256", entropy=None):
    entropy = entropy or Counting(3)
    top_key = service_key("tsa-root", "ecdsa-p384")
    top = make_root(top_key, name=NAME, now=now, entropy=entropy, title="timestamp root")
    public = service_key(stamping, algorithm).public_pem
    return make_timestamper(top_key, top, public, name=NAME, now=now, entropy=entropy), top


DEVELOPER = "trainer@example.org"


def development():
    """The development issuer of this bench."""
    return DevelopmentIssuer(service_key("development"), entropy=Counting(4))


def services(folder, now=NOW, *, origin="weighbridge.test - 7", log="log", algorithm="ecdsa-p256", **changes):
    """Everything that `sign_keyless` needs, below `folder`."""
    made = bench(folder, now)
    key = service_key(log, algorithm)
    genesis = [b"genesis one", b"genesis two"]
    opened = Log.create(folder / "log", origin, key, now=now, genesis=genesis, form=form_of(origin))
    values = {
        "ca": made.ca,
        "log": opened,
        "log_signer": key,
        "tsa": made.tsa,
        "verifier": TokenVerifier([development().trusted()]),
        "operator": NAME,
    }
    return Services(**(values | changes))


def bench(folder, now=NOW):
    """Build all of it below `folder`."""
    entropy = Counting()
    chain = authority_chain(now)
    ct = CertificateLog.create(folder / "ct", CT_ORIGIN, service_key("ct"), now=now, authorities=chain)
    ca = CertificateService(service_key("ca"), chain, ct=ct, entropy=entropy)
    tsa = TimestampService(service_key("tsa"), timestamp_chain(now), entropy=entropy)
    return Bench(ca, ct, tsa, entropy)
