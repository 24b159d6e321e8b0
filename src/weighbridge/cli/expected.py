"""Whom `verify` expects, and whose word it takes: from the options of the command line to an expectation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.core.errors import NotFound, UsageError, VerificationFailed
from weighbridge.source.small import content_of

if TYPE_CHECKING:
    from weighbridge.cli.options import Shared
    from weighbridge.gate.signatures import SignatureFile
    from weighbridge.gate.signed import ByName, Expectation
    from weighbridge.trust.authority import Authority, AuthorityIdentity
    from weighbridge.trust.demand import Demand
    from weighbridge.trust.expect import Expected, Words
    from weighbridge.trust.proof import Signer
    from weighbridge.trust.roots import CertificateAuthority, Roots

TYPES = {
    "oms": "https://model_signing/signature/v1.0",
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "cyclonedx": "https://cyclonedx.org/bom",
    "spdxjson": "https://spdx.dev/Document",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "openvex": "https://openvex.dev/ns/v0.2.0",
    "custom": "https://cosign.sigstore.dev/attestation/v1",
}
"""Short words for predicate types, as cosign has them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed about the signer; empty where nothing was."""

    signer: str = ""
    issuer: str = ""
    identity: str = ""
    identity_pattern: str = ""
    issuer_pattern: str = ""
    key: Path | None = None
    trusted_root: Path | None = None
    certificate_chain: tuple[Path, ...] = ()
    types: tuple[str, ...] = ()
    demand: tuple[str, ...] = ()
    allow_ignored: bool = False
    allow_unsigned: tuple[str, ...] = ()
    thorough: bool = False

    @property
    def is_name(self) -> bool:
        """Tell whether the signer is called by a name that only an authority could know."""
        elsewhere = self.trusted_root or self.certificate_chain or self.issuer or self.issuer_pattern
        return bool(self.identity) and not elsewhere and "@" not in self.identity and ":" not in self.identity

    @property
    def nobody(self) -> bool:
        """Tell whether no signer was named."""
        return not (self.signer or self.identity or self.identity_pattern or self.key)


def expectations(shared: Shared, asked: Asked) -> list[Expectation]:
    """Return what must hold, once for each set of roots; raises UsageError for options that contradict each other.

    Where no roots are named and the configured registry is there, its authority says whose word is taken.
    """
    from weighbridge.gate.coverage import Allowed
    from weighbridge.gate.signed import Expectation
    from weighbridge.trust.expect import ExpectedKey

    asked = _sorted_out(asked)
    allowed = Allowed(asked.allow_ignored, tuple(path.strip("/") for path in asked.allow_unsigned))
    types = tuple(TYPES.get(name, name) for name in asked.types)
    by_name: ByName | None = None
    pem: str | None = None
    if asked.key is not None:
        pem = _public_key(asked.key)
        from weighbridge.keys.public import key_id_of_pem

        signer: Expected = ExpectedKey(key_id_of_pem(pem))
        sources: Sequence[Roots | None] = _roots(asked) or [None]
    elif asked.is_name:
        by_name, identity = _by_name(shared, asked.identity)
        pem = identity.pem or None
        signer = identity.keyless or ExpectedKey(identity.key)
        sources = [by_name.authority.material]
    else:
        signer, sources = _identity(asked), _roots(asked) or _registry_roots(shared)
        if not sources:
            raise UsageError(
                "nothing says whose certificates to believe",
                cause="a certificate is worth what its authority is worth",
                remedy="give --trusted-root FILE (a Sigstore trusted root), or --certificate-chain ROOT.pem",
                check="expect.roots",
            )
    return [
        Expectation(
            signer=signer,
            key_pem=pem,
            roots=roots,
            demand=_demand(asked, roots, identity.evidence if by_name is not None else None),
            types=types,
            allowed=allowed,
            thorough=asked.thorough,
            by_name=by_name,
        )
        for roots in sources
    ]


def _by_name(shared: Shared, name: str) -> tuple[ByName, AuthorityIdentity]:
    """Find whom the authority of the configured registry calls so."""
    from weighbridge.gate.signed import ByName

    authority = _authority(shared)
    identity = next((row for row in authority.identities if row.name == name), None)
    if identity is None:
        raise NotFound(
            f"the authority of {authority.registry!r} names no {name!r}",
            cause=f"it names {', '.join(row.name for row in authority.identities) or 'nobody'}",
            remedy="give the signer's address or URI with --issuer, or a key with --key",
            check="expect.signer",
        )
    return ByName(authority, str(shared.config["project"]), name), identity


def _registry_roots(shared: Shared) -> list[Roots]:
    if not (Path(str(shared.config["registry"])).expanduser() / "registry.json").is_file():
        return []
    return [_authority(shared).material]


def _authority(shared: Shared) -> Authority:
    from weighbridge.cli.options import opened

    with opened(shared) as registry:
        return registry.authority


def likely_command(model: Path, signatures: Sequence[SignatureFile]) -> UsageError:
    """Make the error for a command that names no signer: it says whom the bundle names, and that nobody checked."""
    found = signatures[0]
    bundle = found.bundle
    where = (
        "" if found.inside in ("model.sig", "claims.jsonl") else f" --bundle {shlex.quote(str(found.path))}"
    )
    if bundle.certificates:
        who, options = _named(bundle.certificates)
    else:
        who = f"with the key {bundle.key or bundle.hint or 'of somebody'}"
        options = "--key SIGNER.pub.pem"
    return UsageError(
        "say whose signature is expected",
        cause=f"{found} says it was signed {who}; this is unverified, and anybody can write it",
        remedy="if that is whom you expect, and you know it from elsewhere: "
        f"weighbridge verify {shlex.quote(str(model))}{where} {options}",
        check="expect.signer",
    )


def _named(certificates: Sequence[bytes]) -> tuple[str, str]:
    from weighbridge.trust.certificates import signer_of, subject_names

    try:
        signer = signer_of(certificates[0])
    except VerificationFailed as error:
        return f"with a certificate that does not fit ({error.cause})", "--signer WHO --issuer URL"
    subject = signer.subject or subject_names(certificates[0])[1]
    if signer.issuer:
        words = f"--signer {shlex.quote(subject)} --issuer {shlex.quote(signer.issuer)} --trusted-root FILE"
        return f"by {subject!r}, as {signer.issuer!r} says", words
    return f"by {subject!r}", f"--signer {shlex.quote(subject)} --certificate-chain ROOT.pem"


def _sorted_out(asked: Asked) -> Asked:
    """Put `--signer` where it belongs, and refuse two expectations at once."""
    if asked.signer.endswith((".pem", ".pub")) and asked.key is None:
        asked = replace(asked, signer="", key=Path(asked.signer))
    named = [word for word in (asked.signer, asked.identity, asked.identity_pattern) if word]
    if len(named) + (asked.key is not None) > 1:
        raise UsageError(
            "more than one signer is named", remedy="name the one that is expected", check="expect.signer"
        )
    if asked.issuer and asked.issuer_pattern:
        raise UsageError("issuer and issuer pattern are both given", remedy="leave one out")
    if asked.key is not None and (asked.issuer or asked.issuer_pattern or asked.certificate_chain):
        raise UsageError(
            "a key has no issuer and no certificates",
            remedy="leave out --key, or the other",
            check="expect.signer",
        )
    return replace(asked, signer="", identity=asked.signer) if asked.signer else asked


def _identity(asked: Asked) -> Expected:
    from weighbridge.trust.expect import ExpectedIdentity
    from weighbridge.trust.pattern import Pattern

    subject: Words = Pattern(asked.identity_pattern) if asked.identity_pattern else asked.identity
    issuer: Words | None = Pattern(asked.issuer_pattern) if asked.issuer_pattern else asked.issuer or None
    if issuer is None and asked.certificate_chain:
        return Named(subject)
    if issuer is None:
        raise UsageError(
            f"who vouches for {asked.identity or asked.identity_pattern!r}?",
            cause="the same name can be given out by several issuers",
            remedy="add --issuer URL (the one that the signer logs in at)",
            check="expect.issuer",
        )
    return ExpectedIdentity(subject, issuer)


@dataclass(frozen=True, slots=True)
class Named:
    """A certificate of an organisation's own: its one name, or the common name where it has none."""

    name: Words

    def refusal(self, signer: Signer) -> str | None:
        """Return why the signer has another name, or None."""
        from weighbridge.trust.certificates import subject_names
        from weighbridge.trust.expect import matches

        if not signer.certificate:
            return f"the key {signer.key.short} signed, and a certificate was expected"
        found = signer.subject or subject_names(signer.certificate)[1]
        if matches(self.name, found):
            return None
        wanted = self.name if isinstance(self.name, str) else f"a match of {self.name.source}"
        return f"the certificate is of {found!r}, expected was {wanted!r}"


def _roots(asked: Asked) -> list[Roots]:
    """Return the roots that were named, each set by itself."""
    from weighbridge.trust.roots import Roots

    found = _trusted_roots(asked.trusted_root) if asked.trusted_root is not None else []
    if not asked.certificate_chain:
        return found
    authorities = _authorities(asked.certificate_chain)
    bases = found or [Roots()]
    return [replace(base, authorities=authorities, ctlogs=()) for base in bases]


def _trusted_roots(path: Path) -> list[Roots]:
    """Read a trusted root, a client's trust configuration that holds one, or a file of one a line."""
    from weighbridge.core.canonical import canonical, parse
    from weighbridge.trust.trusted_root import read_trusted_root

    data = content_of(path)
    rows = [line for line in data.split(b"\n") if line.strip()]
    parts = (
        rows
        if len(rows) > 1 and all(row.strip().startswith(b"{") and row.strip().endswith(b"}") for row in rows)
        else [data]
    )
    found = []
    for part in parts:
        try:
            value = parse(part)
        except ValueError:
            value = None
        inner = value.get("trustedRoot") if isinstance(value, dict) else None
        found.append(read_trusted_root(canonical(inner) if inner is not None else part))
    return found


def _authorities(paths: Sequence[Path]) -> tuple[CertificateAuthority, ...]:
    """Make one authority of each root in the files, under which what lies between may come from here or the bundle."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from weighbridge.trust.roots import CertificateAuthority

    certificates = []
    for path in paths:
        try:
            certificates += x509.load_pem_x509_certificates(content_of(path))
        except ValueError as error:
            raise UsageError(f"{path} holds no certificates in PEM", cause=str(error)) from error
    roots = [row.public_bytes(Encoding.DER) for row in certificates if row.subject == row.issuer]
    between = tuple(row.public_bytes(Encoding.DER) for row in certificates if row.subject != row.issuer)
    if not roots:
        raise UsageError(
            "there is no root among these certificates",
            cause="none of them is issued by itself",
            remedy="give the root certificate of the signer's organisation, got from them by another way",
            check="expect.roots",
        )
    alone = tuple(CertificateAuthority((root,)) for root in roots)
    return alone + tuple(CertificateAuthority((*between, root)) for root in roots if between)


def _demand(asked: Asked, roots: Roots | None, asked_of: Demand | None) -> Demand:
    """Demand what the roots have services for, unless told otherwise: a bundle cannot leave them out.

    Of somebody whom an authority names it is that authority which says what they owe.
    """
    from weighbridge.trust.demand import Demand

    if asked_of is not None:
        return asked_of
    counts = {"logs": 0, "timestamps": 0, "scts": 0, "times": 0}
    if roots is not None:
        counts["logs"] = int(bool(roots.logs))
        counts["timestamps"] = int(bool(roots.timestamps) and not roots.logs)
        counts["scts"] = int(bool(roots.ctlogs))
        counts["times"] = int(asked.key is None and not asked.certificate_chain)
    if asked.certificate_chain:
        counts["logs"] = counts["timestamps"] = 0
    for word in asked.demand:
        name, equals, number = word.partition("=")
        if not equals or not number.isdecimal() or name not in Demand.__slots__:
            raise UsageError(
                f"--demand {word!r} is not NAME=NUMBER", remedy=f"names are {', '.join(Demand.__slots__)}"
            )
        counts[name] = int(number)
    if roots is None and any(counts.values()):
        raise UsageError(
            "proof is demanded, and nothing says whose word to take for it",
            remedy="give --trusted-root FILE",
            check="expect.roots",
        )
    try:
        return Demand(**counts)
    except ValueError as error:
        raise UsageError("this demand cannot be made", cause=str(error)) from error


def _public_key(path: Path) -> str:
    return content_of(path).decode("ascii", errors="replace")
