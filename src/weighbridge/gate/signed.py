"""The four checks of a signed model: the signature, who made it, the bytes that are there, and what was said of them.

| check | holds when |
|---|---|
| signature | the bundle proves as much as is demanded, under keys that the caller trusts (`trust.prove`) |
| identity | whoever signed is whom the caller expects (`trust.expect`) |
| claim | the statement is of a type that the caller asked for, and does not itself say no |
| bytes | every file that is there is a file that was signed, and the other way round (`coverage`) |

They run in this order, the one that reads the model last. Nothing is asked of a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.claims.predicates import role_of, stage_of
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, VerificationFailed, WeighbridgeError
from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.core.tier import Role, Stage
from weighbridge.gate.coverage import MODEL_SIGNING, Allowed, Covered, Present, compare
from weighbridge.gate.signatures import SignatureFile
from weighbridge.source.hashing import Progress, hash_pieces
from weighbridge.source.local import LocalTree, open_folder
from weighbridge.trust.bundle import Bundle, MessageSignature
from weighbridge.trust.demand import Demand
from weighbridge.trust.expect import Expected, check_expected
from weighbridge.trust.proof import Proof
from weighbridge.trust.prove import Artifact, prove
from weighbridge.trust.roots import Roots

if TYPE_CHECKING:
    from weighbridge.trust.authority import Authority

MAX_IN_MEMORY = 1 << 30
"""Bytes of a file whose signature is over its bytes and not over a digest (Ed25519)."""


@dataclass(frozen=True, slots=True)
class ByName:
    """A signer under the name that an authority gives it, with what the authority asks of such a signer."""

    authority: Authority
    project: str
    name: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the caller wants to see; nothing in it comes from the bundle."""

    signer: Expected
    key_pem: str | None = None
    """The managed key that must have signed; None where a certificate must name the signer."""
    roots: Roots | None = None
    """None, with a key only: whatever else the bundle carries is not looked at, and said to be so."""
    demand: Demand = field(default_factory=Demand)
    types: tuple[str, ...] = ()
    """Stages or predicate types that are wanted; empty for statements that list the files of a model."""
    allowed: Allowed = field(default_factory=Allowed)
    thorough: bool = False
    by_name: ByName | None = None
    """Where the signer was named as an authority names it: its role and its interval count too."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What held: the signature used, what it proves, what it says, and what was compared."""

    signature: SignatureFile
    proof: Proof
    statement: Statement | None
    """None for a bare signature over a file, which says nothing but itself."""
    covered: Covered
    unseen: int = 0
    """Log entries and timestamps in the bundle that were not looked at, for want of roots."""


def check_signed(
    model: Path,
    signatures: Sequence[SignatureFile],
    expectations: Sequence[Expectation],
    *,
    now: datetime,
    progress: Progress | None = None,
) -> Checked:
    """Return the first signature under which all four checks of any expectation hold.

    Several expectations are one for each set of roots: what a bundle lacks under one, another cannot lend it.
    Where none holds, the error of the one that came furthest is raised: VerificationFailed with the check that
    refused, or CannotTell.
    """
    furthest: tuple[int, WeighbridgeError] | None = None
    for signature, expected in ((one, other) for one in signatures for other in expectations):
        attempt = _Attempt(model, signature, expected, now, progress)
        try:
            return attempt.run()
        except WeighbridgeError as error:
            if furthest is None or attempt.passed > furthest[0]:
                furthest = attempt.passed, error
    if furthest is None:
        raise VerificationFailed(
            f"no signature for {model} could be read",
            check="bundle.form",
            remedy="get it again from its signer",
        )
    if len(signatures) > 1:
        furthest[1].cause = f"of {len(signatures)} signatures none will do; the best: {furthest[1].cause}"
    raise furthest[1]


@dataclass
class _Attempt:
    """One signature held against one expectation; `passed` counts the checks that held so far."""

    model: Path
    signature: SignatureFile
    expected: Expectation
    now: datetime
    progress: Progress | None
    passed: int = 0

    def run(self) -> Checked:
        bundle, expected, unseen = self.signature.bundle, self.expected, 0
        if expected.roots is None:
            unseen = len(bundle.entries) + len(bundle.timestamps)
            bundle = replace(bundle, entries=(), timestamps=())
        with open_folder(self.model, everything=True) as tree:
            if bundle.message is not None:
                proof, covered = self._file(bundle, tree)
                return Checked(self.signature, proof, None, covered, unseen)
            # Signature and identity.
            proof = self._proof(bundle, None)
            # Claim.
            statement = Statement.decode(proof.payload)
            _check_wanted(statement, expected)
            _check_role(bundle, statement, expected, self.now)
            self.passed += 1
            # Bytes.
            used = self.signature
            present = Present(
                tree,
                single=not self.model.is_dir(),
                signature=(used.inside, used.file) if used.inside and used.file is not None else None,
                allowed=expected.allowed,
                progress=self.progress,
                thorough=expected.thorough,
            )
            return Checked(self.signature, proof, statement, compare(present, statement), unseen)

    def _proof(self, bundle: Bundle, artifact: Artifact | None) -> Proof:
        proof = prove(
            bundle,
            roots=self.expected.roots or Roots(),
            demand=self.expected.demand,
            now=self.now,
            key_pem=self.expected.key_pem,
            payload_type=PAYLOAD_TYPE,
            artifact=artifact,
        )
        self.passed += 1
        check_expected(self.expected.signer, proof.signer)
        self.passed += 1
        return proof

    def _file(self, bundle: Bundle, tree: LocalTree) -> tuple[Proof, Covered]:
        """Check a bare signature over a file: its bytes are read first, as the signature is over these."""
        artifact = _artifact(tree, bundle, self.expected, self.progress)
        proof = self._proof(bundle, artifact)
        _check_wanted(None, self.expected)
        _check_role(bundle, None, self.expected, self.now)
        tree.settle()
        return proof, Covered(artifact.digest, "one file", "sha256 of the file", 1, tree.files()[0].size)


def _check_wanted(statement: Statement | None, expected: Expectation) -> None:
    if statement is None:
        found, fits = "a bare signature, which makes no claim", not expected.types
    else:
        stage = stage_of(statement)
        found = statement.predicate_type + (f" ({stage.value})" if stage is not None else "")
        lists = stage is Stage.PACKAGE or statement.predicate_type.startswith(MODEL_SIGNING)
        names = (statement.predicate_type, stage.value if stage is not None else "")
        fits = any(name in expected.types for name in names) if expected.types else lists
    if not fits:
        wanted = ", ".join(expected.types) or "a claim that lists the model's files"
        raise VerificationFailed(
            "the signature is under another claim than the one wanted",
            cause=f"wanted: {wanted}; found: {found}",
            remedy="say which claim is wanted: --type, with a stage (package, train, …) or a predicate type",
            check="claim.type",
        )
    said = statement.predicate if statement is not None else {}
    if said.get("result") == "FAILED" or said.get("verificationResult", "PASSED") != "PASSED":
        raise VerificationFailed(
            "the signer says no: the claim's own result is not that it passed",
            cause=found,
            remedy="do not use this model",
            check="claim.result",
        )


def _check_role(bundle: Bundle, statement: Statement | None, expected: Expectation, now: datetime) -> None:
    """Ask the authority whether this signer may make this claim, in this project, at this time."""
    named = expected.by_name
    if named is None:
        return
    from weighbridge.trust.verify import verify_signed

    if now > named.authority.expires:
        raise VerificationFailed(
            "the authority that names the signer has expired",
            cause=f"it ended {rfc3339(named.authority.expires)}",
            remedy="sign its next version with the root key: weighbridge trust renew",
            check="authority.expired",
        )
    listed = statement is not None and statement.predicate_type.startswith(MODEL_SIGNING)
    role = Role.PACKAGE if listed else role_of(statement) if statement is not None else None
    if role is None:
        raise VerificationFailed(
            "the authority has no role for a claim like this",
            remedy="name the signer's key instead (--key), if that is whom you expect",
            check="identity.role",
        )
    proven = verify_signed(
        bundle,
        authority=named.authority,
        project=named.project,
        role=role,
        now=now,
        payload_type=PAYLOAD_TYPE,
    )
    if proven.signer.name != named.name:
        raise VerificationFailed(
            f"this was not signed by {named.name}",
            cause=f"the authority calls its signer {proven.signer.name!r}",
            check="identity.expected",
        )


def _artifact(tree: LocalTree, bundle: Bundle, expected: Expectation, progress: Progress | None) -> Artifact:
    """Hash the one file that a bare signature is over, with the digests its key may have signed."""
    from weighbridge.keys.public import HASHES, algorithm_of_pem
    from weighbridge.trust.certificates import signer_of

    files = tree.files()
    message = bundle.message
    if len(files) != 1 or not isinstance(message, MessageSignature):
        raise VerificationFailed(
            "the signature is over one file, and this is a folder of several",
            remedy="name the file that was signed",
            check="bundle.artifact",
        )
    pem = expected.key_pem or (signer_of(bundle.certificates[0]).pem if bundle.certificates else None)
    kind = HASHES.get(algorithm_of_pem(pem)) if pem is not None else None
    names = ["sha256", kind or "sha256", message.digest.algorithm if message.digest else "sha256"]
    found = [
        Digest(name, digest.hex())
        for name in dict.fromkeys(names)
        for digest in hash_pieces(files, name, progress=progress).values()
    ]
    data = None
    if pem is not None and kind is None:
        if files[0].size > MAX_IN_MEMORY:
            raise OutOfBudget(
                "the signature is over the bytes of a file too large to hold in memory",
                cause=f"{files[0].size} bytes, and at most {MAX_IN_MEMORY} are taken",
                remedy="have it signed over a digest (any key but Ed25519), or under a claim",
                check="bundle.artifact",
            )
        with files[0].open() as stream:
            data = stream.read(files[0].size + 1)
        if Digest.of(data) != found[0]:
            raise VerificationFailed("the file changed while it was read", check="source.changed")
    return Artifact(tuple(found), data)
