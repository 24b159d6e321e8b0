"""Both verifiers on one case: what each says, and whether the two agree."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache

from differ_bases import Case
from differ_supersets import covering
from sigstore_issuing import ISSUER, SUBJECT

from weighbridge.core.errors import WeighbridgeError
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.demand import Demand
from weighbridge.trust.expect import ExpectedIdentity, check_expected
from weighbridge.trust.prove import Artifact, prove
from weighbridge.trust.trusted_root import read_trusted_root, write_trusted_root


@dataclass(frozen=True)
class Said:
    """What the two say of a case: "" where one accepts, else why it does not."""

    ours: str
    theirs: str
    traceback: str = ""
    """Ours raised something else than a refusal with its step."""
    rule: str = ""
    """The supersets that together explain why we accept what they refuse."""

    @property
    def outcome(self) -> str:
        if self.traceback:
            return "traceback"
        if self.ours and self.theirs:
            return "both reject"
        if not self.ours and not self.theirs:
            return "both accept"
        return "we are stricter" if self.ours else "we are looser"


def ours(case: Case) -> tuple[str, str]:
    """Return the step that refuses ("" where none does) and what else was raised."""
    try:
        bundle = Bundle.from_json(case.bundle)
        if case.is_file and bundle.message is None:
            return "bundle.content", ""
        known = replace(read_trusted_root(case.root), witnesses=case.witnesses)
        proof = prove(bundle, roots=known, demand=Demand(), now=case.now, artifact=Artifact.of(case.content))
        check_expected(ExpectedIdentity(SUBJECT, ISSUER), proof.signer)
    except WeighbridgeError as error:
        named = error.check and error.problem and error.remedy
        return error.check or "-", "" if named else f"a refusal without its step: {error!r}"
    except Exception as error:  # noqa: BLE001 (that there is none is what is asked)
        return "-", f"{type(error).__name__}: {error}"
    if not case.is_file and (bundle.message is not None or proof.payload != case.content):
        return "statement.content", ""
    return "", ""


def theirs(case: Case) -> str:
    """Return "" where sigstore accepts, else what it raised."""
    from sigstore.models import Bundle as Theirs
    from sigstore.verify import policy

    try:
        read = Theirs.from_json(case.bundle)
        who = policy.Identity(identity=SUBJECT, issuer=ISSUER)
        verifier = _verifier(case.root)
        if case.is_file:
            verifier.verify_artifact(case.content, read, who)
        elif verifier.verify_dsse(read, who)[1] != case.content:
            return "another payload"
    except Exception as error:  # noqa: BLE001 (whatever it raises, it did not accept)
        return f"{type(error).__name__}: {error}"[:4000]
    return ""


@lru_cache(maxsize=64)
def _verifier(root: bytes):
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier
    from sigstore_models.trustroot.v1 import TrustedRoot as Document

    return Verifier(trusted_root=TrustedRoot(Document.from_json(root)))


def ask(case: Case) -> Said:
    """Ask both; of a bundle with several log entries sigstore is asked about each entry by itself."""
    step, traceback = ours(case)
    said = Said(step, ask_each(case), traceback)
    return replace(said, rule=explained(case, said)) if said.outcome == "we are looser" else said


def alone(case: Case) -> list[Case]:
    """Return the case once for each log entry: sigstore reads bundles with exactly one."""
    try:
        document = json.loads(case.bundle)
        material = document["verificationMaterial"]
        entries = material["tlogEntries"]
        if not isinstance(entries, list) or len(entries) < 2:
            return [case]
    except (ValueError, LookupError, TypeError):
        return [case]
    found = []
    for entry in entries:
        material["tlogEntries"] = [entry]
        found.append(replace(case, bundle=json.dumps(document).encode()))
    return found


def explained(case: Case, said: Said) -> str:
    """Return which supersets cover a case that we accept and sigstore refuses; "" where something is not covered."""
    again = anew(case)
    why = ask_each(again) if again else said.theirs
    return covering(again or case, said.theirs, why, ask_each)


def ask_each(case: Case) -> str:
    """What sigstore says of a case, asked about each log entry by itself."""
    return next((why for one in alone(case) if (why := theirs(one))), "")


def anew(case: Case) -> Case | None:
    """Return the same bundle and root in our own spelling, the media type as it was."""
    try:
        bundle = Bundle.from_json(case.bundle).to_json()
        root = write_trusted_root(read_trusted_root(case.root))
    except WeighbridgeError:
        return None
    document = json.loads(bundle)
    document["mediaType"] = json.loads(case.bundle)["mediaType"]
    return replace(case, bundle=json.dumps(document).encode(), root=root)
