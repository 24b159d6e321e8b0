"""What a certificate says of who signed: the alternative name and Fulcio's extensions, written and read.

The numbers are those of "Sigstore OID information" (docs/oid-info.md of sigstore/fulcio): below
1.3.6.1.4.1.57264.1, `.1` to `.6` hold bare text, `.8` and above a DER UTF8String; `.7` is the `otherName`
of a user name. Claims of builds come as GitHub and GitLab put them into their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from weighbridge.core.errors import VerificationFailed
from weighbridge.trust import der
from weighbridge.trust.minting import SUBJECT_ALTERNATIVE_NAME, Extension
from weighbridge.trust.proof import SubjectKind
from weighbridge.trust.tokens import Token

if TYPE_CHECKING:
    from cryptography import x509

ARC = "1.3.6.1.4.1.57264.1"
USER_NAME = f"{ARC}.7"
RAW = ("1", "2", "3", "4", "5", "6")
"""Extensions whose value is text without an ASN.1 tag."""
MAX_CLAIM = 1024
"""Characters of one claim; branch names and URLs stay far below."""

_GITHUB: Mapping[str, str] = MappingProxyType(
    {
        "2": "event_name",
        "3": "sha",
        "4": "workflow",
        "5": "repository",
        "6": "ref",
        "10": "job_workflow_sha",
        "11": "runner_environment",
        "13": "sha",
        "14": "ref",
        "15": "repository_id",
        "17": "repository_owner_id",
        "19": "workflow_sha",
        "20": "event_name",
        "22": "repository_visibility",
        "23": "environment",
    }
)
_GITLAB: Mapping[str, str] = MappingProxyType(
    {
        "10": "ci_config_sha",
        "11": "runner_environment",
        "13": "sha",
        "15": "project_id",
        "17": "namespace_id",
        "19": "ci_config_sha",
        "20": "pipeline_source",
        "22": "project_visibility",
        "23": "environment",
    }
)
_REF = {"branch": "refs/heads/", "tag": "refs/tags/"}


def alternative_name(token: Token) -> Extension:
    """Write the subject, critical because the certificate has no other name (RFC 5280 section 4.2.1.6).

    Raises VerificationFailed(ca.subject) for what cannot be named.
    """
    tag = {"email": 1, "uri": 6}.get(token.kind)
    if not token.subject or not token.subject.isprintable():
        raise _nameless(token)
    if tag is not None:
        if not token.subject.isascii():  # both are IA5String
            raise _nameless(token)
        name = der.implicit(tag, token.subject.encode("ascii"))
    elif token.kind == "other-name":
        name = der.explicit(0, der.oid(USER_NAME), der.explicit(0, der.utf8(token.subject)))
    else:
        raise _nameless(token)
    return Extension(SUBJECT_ALTERNATIVE_NAME, der.sequence(name), critical=True)


def extensions(token: Token) -> tuple[Extension, ...]:
    """Write who vouched (`.1` bare and `.8` as UTF8String) and what the token said of the build."""
    said = {**token.claims, "1": token.issuer, "8": token.issuer}  # no claim speaks for the issuer
    rows = sorted(said.items(), key=lambda row: int(row[0]))
    return tuple(
        Extension(f"{ARC}.{number}", text.encode() if number in RAW else der.utf8(text))
        for number, text in rows
    )


def read_vouched(certificate: x509.Certificate) -> tuple[str, SubjectKind, str]:
    """Return subject, its kind and who vouched, of a certificate with exactly one alternative name.

    Raises ValueError for any other. Nothing is verified.
    """
    from cryptography import x509

    try:
        found = certificate.extensions
        names = list(found.get_extension_for_class(x509.SubjectAlternativeName).value)
        issuer: Any = found.get_extension_for_oid(x509.ObjectIdentifier(f"{ARC}.8")).value
    except x509.ExtensionNotFound as error:
        raise ValueError("it does not say who signed, or who vouched") from error
    if len(names) != 1:
        raise ValueError("it has more than one alternative name")
    (name,) = names
    kind: SubjectKind = ""
    subject = ""
    if isinstance(name, x509.RFC822Name):
        kind, subject = "email", name.value
    elif isinstance(name, x509.UniformResourceIdentifier):
        kind, subject = "uri", name.value
    elif isinstance(name, x509.OtherName) and name.type_id.dotted_string == USER_NAME:
        kind, subject = "other-name", read_utf8(name.value)
    else:
        raise ValueError("its alternative name is of another kind")
    return subject, kind, read_utf8(issuer.value)


def read_utf8(encoded: bytes) -> str:
    """Read a UTF8String that is written in the one way `der.utf8` writes it; raises ValueError."""
    head = len(der.utf8("x" * len(encoded))) - len(encoded)
    for start in range(2, head + 1):
        text = encoded[start:].decode(errors="replace")
        if der.utf8(text) == encoded:
            return text
    raise ValueError("it is not a UTF8String in DER")


def github(claims: Mapping[str, Any], server: str) -> tuple[str, str, dict[str, str]]:
    """Return subject, source repository and extensions of a GitHub Actions token; raises VerificationFailed."""
    say = _reader(claims)
    repository, workflow = say("repository"), say("job_workflow_ref")
    made = {number: say(name) for number, name in _GITHUB.items() if name in claims}
    run = f"{say('run_id')}/attempts/{say('run_attempt')}"
    made |= {
        "9": f"{server}/{workflow}",
        "12": f"{server}/{repository}",
        "16": f"{server}/{say('repository_owner')}",
        "18": f"{server}/{say('workflow_ref')}",
        "21": f"{server}/{repository}/actions/runs/{run}",
    }
    return made["9"], made["12"], _filled(made)


def gitlab(claims: Mapping[str, Any], server: str) -> tuple[str, str, dict[str, str]]:
    """Return subject, source repository and extensions of a GitLab CI token; raises VerificationFailed."""
    say = _reader(claims)
    project, config = say("project_path"), f"https://{say('ci_config_ref_uri')}"
    ref_type = say("ref_type")
    if ref_type not in _REF:
        raise _unfit("ref_type", "is neither 'branch' nor 'tag'")
    made = {number: say(name) for number, name in _GITLAB.items() if name in claims}
    made |= {
        "9": config,
        "12": f"{server}/{project}",
        "14": _REF[ref_type] + say("ref"),
        "16": f"{server}/{say('namespace_path')}",
        "18": config,
        "21": f"{server}/{project}/-/jobs/{say('job_id')}",
    }
    return config, made["12"], _filled(made)


def _reader(claims: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a function that reads one claim as text; numbers are written in decimal, all else is refused."""

    def say(name: str) -> str:
        value = claims.get(name)
        if type(value) is int:
            value = str(value)
        if value is None and name in ("environment", "ci_config_sha"):
            return ""
        if not isinstance(value, str):
            raise _unfit(name, "is missing" if value is None else "is not text")
        if len(value) > MAX_CLAIM or not value.isprintable():
            raise _unfit(name, "is too long or holds characters that cannot be shown")
        return value

    return say


def _filled(made: Mapping[str, str]) -> dict[str, str]:
    return {number: text for number, text in made.items() if text}


def _nameless(token: Token) -> VerificationFailed:
    return VerificationFailed(
        f"{token.subject[:200]!r} cannot stand in a certificate",
        cause="a subject is an address or URI in ASCII, or a user name, all of it visible",
        remedy="change the issuer's mapping, so that it names its subjects in one of these ways",
        check="ca.subject",
    )


def _unfit(name: str, what: str) -> VerificationFailed:
    return VerificationFailed(
        f"the token's claim {name!r} {what}",
        cause="a certificate would say something that the issuer did not",
        remedy="check which kind of issuer this is; GitHub and GitLab put these claims into their tokens",
        check="token.claims",
    )
