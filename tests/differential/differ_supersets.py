"""Where we accept what sigstore refuses: each row has a reason, and a question that only its own cases answer with yes.

The same rows stand in docs/reference/bundle.md, "Where we accept more, and why"; a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from differ_bases import Case

Theirs = Callable[[Case], str]


@dataclass(frozen=True)
class Row:
    """One superset: its name in the documentation, and whether it covers a case, given what sigstore says."""

    name: str
    covers: Callable[[Case, str, Theirs], bool]


def _changed(case: Case, change, part: str = "bundle") -> Case:
    document = json.loads(getattr(case, part))
    change(document)
    return replace(case, **{part: json.dumps(document).encode()})


def _errors(why: str) -> list[str]:
    return re.findall(r"\[type=(\w+)", why)


def _body_members(case, why, theirs):
    """Nothing but unknown members stands between them and the body."""
    schema = re.match(r"(?:VerificationError: invalid \w+ log entry: )?(?:ValidationError: )?\d+ validation errors? for (Entry|Dsse|Hashedrekord)", why)  # fmt: skip
    return schema is not None and set(_errors(why)) == {"extra_forbidden"}


def _envelope_hash(case, why, theirs):
    """With an envelopeHash of the right form, whatever it says, they read the body."""
    import rekor_types

    if not why.startswith("VerificationError: invalid DSSE log entry"):
        return False
    for body in _bodies(case):
        if body["kind"] == "dsse":
            spec = {name: body["spec"][name] for name in ("payloadHash", "signatures")}
            spec["envelopeHash"] = {"algorithm": "sha256", "value": "0" * 64}
            rekor_types.Dsse.model_validate({"kind": "dsse", "apiVersion": body["apiVersion"], "spec": spec})
    return True


def _bodies(case):
    import base64

    material = json.loads(case.bundle)["verificationMaterial"]
    return [json.loads(base64.b64decode(entry["canonicalizedBody"])) for entry in material["tlogEntries"]]


def _several_scts(case, why, theirs):
    return bool(re.search(r"Expected one certificate timestamp, found ([2-9]|1[0-6])$", why))


def _second_issuer(case, why, theirs):
    return "does not contain OIDCIssuer (1.3.6.1.4.1.57264.1.1) extension" in why


def _closed_end(case, why, theirs):
    """They accept once intervals of timestamp authorities end a millisecond later."""

    def later(root):
        for row in root.get("timestampAuthorities") or []:
            end = row["validFor"].get("end")
            if end:
                moment = datetime.fromisoformat(end) + timedelta(milliseconds=1)
                row["validFor"]["end"] = moment.isoformat().replace("+00:00", "Z")

    return "not enough sources of verified time" in why and not theirs(_changed(case, later, "root"))


def _other_version(case, why, theirs):
    """They accept once the media type is that of a version with this kind of material."""

    def renamed(bundle):
        single = "certificate" in bundle["verificationMaterial"]
        bundle["mediaType"] = "application/vnd.dev.sigstore.bundle" + (".v0.3+json" if single else "+json;version=0.2")  # fmt: skip

    found = re.search(r"expected certificate( chain)? in bundle", why)
    return bool(found) and not theirs(_changed(case, renamed))


def _several_entries(case, why, theirs):
    """An entry without a time of its own beside one that has it: they see one entry at a time."""
    entries = json.loads(case.bundle)["verificationMaterial"]["tlogEntries"]
    return len(entries) > 1 and bool(
        re.search(
            "must contain an inclusion promise or signed timestamp|not enough sources of verified time", why
        )
    )


def _chain(case, why, theirs):
    """They accept once only the leaf is left of a chain."""

    def leaf_alone(bundle):
        chain = bundle["verificationMaterial"]["x509CertificateChain"]
        assert len(chain["certificates"]) > 1
        del chain["certificates"][1:]

    return "x509CertificateChain" in json.loads(case.bundle)["verificationMaterial"] and not theirs(
        _changed(case, leaf_alone)
    )


SUBSTANCE = (
    Row("several SCTs", _several_scts),
    Row("issuer in its second form only", _second_issuer),
    Row("closed intervals", _closed_end),
    Row("material of another version", _other_version),
    Row("several log entries", _several_entries),
    Row("further certificates unread", _chain),
    Row("envelopeHash unread", _envelope_hash),
    Row("unknown members of a body", _body_members),
)
"""What they refuse however it is spelled."""

SPELLINGS = {
    "unknown members": {"extra_forbidden"},
    "integers as numbers": {"value_error"},
    "members left out": {"missing", "model_type", "list_type", "string_type", "datetime_type", "bytes_type"},
    "kinds of keys to come": {"enum"},
}
"""What they refuse in this spelling alone, by the kinds of error: written anew by us, they accept the same document."""


def covering(case: Case, why: str, again: str, theirs: Theirs) -> str:
    """Return the names of the rows that explain it together; "" where something remains that none explains."""
    names = []
    if why != again:
        kinds = set(_errors(why))
        names = [name for name, covered in SPELLINGS.items() if kinds & covered]
        if kinds - set().union(*SPELLINGS.values()) or not names:
            return ""
    if again:
        found = [row.name for row in SUBSTANCE if _holds(row, case, again, theirs)]
        if not found:
            return ""
        names.append(found[0])
    return ", ".join(names)


def _holds(row, case, why, theirs):
    try:
        return row.covers(case, why, theirs)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
        return False
