"""For tests of witnesses: a log that can be forked, witnesses in memory of their own, and a clock to set."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from functools import cache

from weighbridge.keys.files import generate
from weighbridge.ledger.checkpoint import origin_of
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.witness import Request, Witness, witness_response
from weighbridge.ledger.witnessing import WitnessAddress

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
ORIGIN = origin_of("test", 7)


@cache
def key(name, algorithm="ecdsa-p256"):
    return generate(algorithm)


class Watch:
    """A clock that stands until it is set."""

    def __init__(self, moment=NOW):
        self.moment = moment

    def now(self):
        return self.moment

    def pass_by(self, **span):
        self.moment += timedelta(**span)


class House:
    """A log, a twin of it for lies, and a witness with both kinds of key."""

    def __init__(self, folder):
        self.folder, self.clock = folder, Watch()
        self.signer = key("log")
        genesis = [b"genesis one", b"genesis two"]
        self.log = Log.create(folder / "log", ORIGIN, self.signer, now=NOW, genesis=genesis)
        self.cosigners = self.keys("witness.test/w1")
        self.witness = self.new_witness("w1", self.cosigners)

    def keys(self, name):
        return (
            Cosigner(name, key(name + "e", "ed25519")),
            Cosigner(name, key(name + "m", "ml-dsa-44")),
        )

    def new_witness(self, folder, cosigners, *, knows=True):
        made = Witness.create(
            self.folder / folder, cosigners, clock=self.clock, anchor=self.folder / f"{folder}.anchor"
        )
        if knows:
            made.add_log(ORIGIN, self.signer.public_pem)
        return made

    def reopened(self, folder="w1", cosigners=None):
        return Witness.open(
            self.folder / folder,
            cosigners or self.cosigners,
            clock=self.clock,
            anchor=self.folder / f"{folder}.anchor",
        )

    def grow(self, *bodies, log=None):
        (log or self.log).append([body.encode() for body in bodies], signer=self.signer, now=self.clock.now())

    def twin(self, name="twin"):
        """A copy of the log under the same key, which can be made to lie."""
        shutil.copytree(self.folder / "log", self.folder / name)
        return Log.open(self.folder / name, self.signer.public_pem)

    def request(self, old=None, *, log=None, note=None, proof=None):
        log = log or self.log
        old = log.size if old is None else old
        if proof is None:
            proof = log.consistency(old) if 0 < old <= log.size else ()
        return Request(old, tuple(proof), note or log.checkpoint_text).encode()

    def ask(self, body, witness=None):
        status, headers, data = witness_response(body, witness or self.witness)
        assert int(headers["Content-Length"]) == len(data)
        return status, headers["Content-Type"], data.decode()

    def address(self, cosigner=None, url="http://w1"):
        return WitnessAddress(url, cosigner or self.cosigners[0])
