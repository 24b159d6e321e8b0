"""Changes below a signature: one piece is changed and everything above it is signed and logged anew by its own key.

A log that takes in a wrong body, an authority that issues a wrong certificate, a timestamp of a wrong form: what
remains is what a verifier itself must look at.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, replace
from datetime import timedelta

import differ_der
import differ_json
from asn1crypto import core
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from differ_bases import COSIGNERS, Case, case, roots, specifications
from sigstore_issuing import (
    BEGIN,
    END,
    ISSUER,
    NOW,
    SUBJECT,
    Leaf,
    Tsa,
    authority,
    chain,
    private,
    spki,
    usage,
)
from sigstore_world import Forged

from weighbridge.keys.files import FileKey
from weighbridge.ledger.checkpoint import Checkpoint, log_id_of
from weighbridge.trust.dsse import encode64
from weighbridge.trust.roots import TimestampAuthority, Window

SCTS = "1.3.6.1.4.1.11129.2.4.2"


@dataclass(frozen=True)
class Given(Leaf):
    """A leaf whose certificate is given."""

    der: bytes = b""

    def build(self) -> bytes:
        return self.der


def given(leaf: Leaf, der: bytes) -> Given:
    return Given(kind=leaf.kind, holder=leaf.holder, issuer=leaf.issuer, der=der)


def signed(forged: Forged) -> bytes:
    return forged.signer.sign(forged.signed) if forged.signature is None else forged.signature


def mutated(rng, forged: Forged) -> Case:
    """Change one piece of a bundle under its signatures."""
    return changed(rng, forged, *rng.choice(CHANGES))


def changed(rng, forged: Forged, name: str, change) -> Case:
    """Change this piece; the signature is made once, so that all that is made from it stays about it."""
    found, done = change(rng, replace(forged, signature=signed(forged)))
    return replace(found, field=f"signed anew: {name}", done=done)


def _body(rng, forged):
    """The log takes in another body."""
    donors = [replace(one, signature=b"other").build().entries[0].body for one in rng.sample(list(specifications().values()), 3)]  # fmt: skip
    body, field, done = differ_json.mutated(rng, forged._body(forged.signature), donors)
    return case(replace(forged, body=body or b" ").build(), forged.kind), f"{field}: {done}"


def _promise(rng, forged):
    """The log signs another time, place, body or log."""
    changes = {"seconds": forged.seconds + rng.choice((-1, 1, 86400)), "index": forged.index + rng.choice((-1, 1)), "body": b"{}"}  # fmt: skip
    name = rng.choice(list(changes))
    if rng.random() < 0.5:
        return case(replace(forged, promised={name: changes[name]}).build(), forged.kind), name
    seconds = rng.choice((0, 1, 2**31, 2**33, 253_402_300_799, forged.seconds - 60, forged.seconds - 61, forged.seconds + 540, forged.seconds + 541, forged.seconds + 300, forged.seconds + 301))  # fmt: skip
    return case(
        replace(forged, seconds=seconds).build(), forged.kind
    ), f"seconds {seconds - forged.seconds:+d}"


def _place(rng, forged):
    """Another place in a tree of another size, all of it proven; or what the bundle says of it differs."""
    size = rng.choice((1, 2, 3, 7, 8, 9, 100))
    index = rng.randrange(size)
    forged = replace(forged, others=tuple(b"%d" % one for one in range(size - 1)), index=index, outer_index=rng.choice((None, 0, 5, 1 << 40)))  # fmt: skip
    right = forged.entry(forged.signature)
    claims = rng.choice(
        (
            {},
            {"leaf_index": rng.randrange(size + 2)},
            {"size": size + rng.choice((-1, 1))},
            {"hashes": right.hashes[: rng.randrange(len(right.hashes) + 1)]},
            {"hashes": (*right.hashes, bytes(32))},
            {"root": right.hashes[0] if right.hashes else bytes(32)},
            {"body": right.body + b" "},
            {"hashes": right.hashes[::-1]},
        )
    )
    return case(replace(forged, claims=claims).build(), forged.kind), next(iter(claims), "in order")


def _checkpoint(rng, forged):
    """The log signs another text."""
    entry = forged.entry(forged.signature)
    head, _, tail = entry.checkpoint.partition("\n\n")
    text = differ_json.note(rng, head + "\n", entry.checkpoint)
    row = tail.split("\n")[0].split(" ")
    hint = base64.b64decode(row[2])[:4]
    done = "text"
    if rng.random() < 0.3:
        text, done = head + "\n", "signature line"
        row[1] = rng.choice((row[1], row[1] + ".", "other.test"))
        hint = rng.choice((hint, bytes(4), hashlib.sha256(forged.log_key.public_pem.encode()).digest()[:4]))
    value = base64.b64encode(hint + forged.log_key.sign(text.encode("utf-8", "replace"))).decode()
    line = f"— {row[1]} {value}\n" * rng.choice((1, 1, 1, 2))
    others = tail.partition("\n")[2]
    claims = {"checkpoint": f"{text}\n{others}{line}" if rng.random() < 0.2 else f"{text}\n{line}{others}"}
    return case(replace(forged, claims=claims).build(), forged.kind), done


def _origin(rng, forged):
    """Another log: its name, its id, its key."""
    found = forged.entry(forged.signature)
    head = Checkpoint(found.checkpoint.split("\n")[0], found.size, found.root)
    changes = {
        "origin": rng.choice((head.origin + "1", head.origin.split(" ")[0], "rekor.test - 1", "log2026-1.rekor.test", "other.test", "rekor.test")),
        "log_id": rng.choice((bytes(32), bytes.fromhex(log_id_of(head.origin, forged.log_key.public_pem).hex), roots().logs[rng.randrange(10)].log_id)),
        "log": (rng.choice(("log", "log2", "other log")), rng.choice(("ecdsa-p256", "ed25519", "rsa"))),
    }  # fmt: skip
    name = rng.choice(list(changes))
    return case(replace(forged, **{name: changes[name]}).build(), forged.kind), name


def _witness(rng, forged):
    """Cosignatures: damaged, of a stranger, of another time."""
    one = COSIGNERS[rng.randrange(2)]
    when = NOW + timedelta(seconds=rng.choice((0, -86400, 299, 301, 1 << 30)))
    row = rng.choice((replace(one, when=when), replace(one, flip=True), replace(one, name="stranger.test", flip=True)))  # fmt: skip
    done = "flip" if row.flip else f"{(when - NOW).total_seconds():+.0f} s"
    return case(replace(forged, cosigners=(*forged.cosigners, row)).build(), forged.kind), done


def certificate(rng, leaf: Leaf, donor: bytes = b"") -> tuple[bytes, str]:
    """Issue a leaf with one thing changed, its SCT over what it then is."""
    tbs, algorithm, _ = differ_der.load(replace(leaf, ct=()).build()).rows
    changed, done = differ_der.mutated(rng, tbs.dump(), donor)
    if rng.random() < 0.3:
        changed, done = tbs.dump(), "SCT"
    by = private(*leaf.issuer[1])
    stamps = b"".join(_sct(rng, log, changed, spki(by), odd=done == "SCT") for log in leaf.ct)
    listed = struct.pack("!H", len(stamps)) + stamps
    try:
        node = differ_der.load(changed)
        held = next(row for row in node.rows if row.tag == 0xA3)
        value = core.OctetString(core.OctetString(listed).dump()).dump()
        held.rows[0].rows.append(differ_der.Node(0x30, core.ObjectIdentifier(SCTS).dump() + value))
        changed = node.dump()
    except (ValueError, StopIteration, TypeError, IndexError, AttributeError):
        pass
    signature = differ_der.Node(0x03, b"\0" + FileKey(by).sign(changed))
    body = changed + algorithm.dump() + signature.dump()
    return differ_der.Node(0x30, body).dump(), done


def _sct(rng, log, tbs, issuer, *, odd):
    """One SCT as `sigstore_issuing` writes it, where `odd` with one member changed, signed by its log."""
    key, time = private(*log), int(NOW.timestamp() * 1000) - 60_000
    version, kind, said, extensions, algorithm = 0, 0, 1, b"", b"\x04\x01" if log[1] == "rsa" else b"\x04\x03"
    log_id, twice, more = hashlib.sha256(spki(key)).digest(), 1, b""
    member = rng.randrange(11) if odd else -1
    if member == 0:
        version = 1
    elif member == 1:
        kind, said = rng.choice(((1, 1), (0, 0), (0, 2)))
    elif member == 2:
        extensions = rng.randbytes(rng.choice((1, 8, 300)))
    elif member == 3:
        algorithm = bytes((rng.choice((0, 2, 4, 5, 6)), rng.choice((0, 1, 2, 3, 7))))
    elif member == 4:
        time = rng.choice((0, 1, 2**63, 253_402_300_800_000, int(BEGIN.timestamp() * 1000) - 1, int(BEGIN.timestamp() * 1000), int(END.timestamp() * 1000), int(END.timestamp() * 1000) + 1, time + 1, time + 999))  # fmt: skip
    elif member == 5:
        log_id = rng.choice((bytes(32), roots().ctlogs[1].log_id))
    elif member == 6:
        issuer = rng.choice((spki(private("root", "ecdsa-p384")), b""))
    elif member == 7:
        twice = rng.choice((0, 2))
    elif member == 8:
        more = rng.choice((b"\0", b"\0\0"))
    elif member == 9:
        tbs = differ_der.bits(rng, tbs)
    body = struct.pack("!BBQH", version, kind, time, said) + hashlib.sha256(issuer).digest()
    body += struct.pack("!I", len(tbs))[1:] + tbs + struct.pack("!H", len(extensions)) + extensions
    signature = FileKey(key).sign(body)
    signature = differ_der.bits(rng, signature) if member == 10 else signature
    sct = bytes([version]) + log_id + struct.pack("!QH", time, len(extensions)) + extensions
    sct += algorithm + struct.pack("!H", len(signature)) + signature + more
    return (struct.pack("!H", len(sct)) + sct) * twice


def _certificate(rng, forged):
    """The authority issues another leaf, which the log takes in."""
    der, done = certificate(rng, forged.leaf, Leaf("rsa", names=(x509.RFC822Name("a@ci.test"),)).build())
    return case(replace(forged, leaf=given(forged.leaf, der)).build(), forged.kind), done


def _profile(rng, forged):
    """Leaves as an authority might issue them."""
    code, tls = ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH
    uri, mail = x509.UniformResourceIdentifier, x509.RFC822Name
    both = usage(sign=True, certify=True)
    begin = forged.leaf.begin
    changes = {
        "names": ((), (uri(SUBJECT), mail("a@b.c")), (mail(SUBJECT[8:15] + "@b.c"),), (x509.DNSName("ci.test"),), (uri(SUBJECT + "x"),), (uri(SUBJECT), uri(SUBJECT)), (x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), b"\x0c\x03abc"), uri(SUBJECT)), (x509.DirectoryName(x509.Name([])),)),
        "purposes": ((), (tls,), (code, tls), (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), (ExtendedKeyUsageOID.OCSP_SIGNING, code)),
        "usage": (None, usage(), both, usage(certify=True)),
        "ca": (True, False),
        "claims": ((), ((1, ISSUER),), ((8, ISSUER),), ((1, ISSUER), (8, ISSUER + "x")), ((1, ISSUER + "x"), (8, ISSUER)), ((8, ISSUER.encode()),), ((8, b"\x0c\x81\x15" + ISSUER.encode()),), ((8, b"\x13\x15" + ISSUER.encode()),), ((1, b"\xff"),), ((8, ISSUER), (12, b"\x0c\x01\xff"))),
        "begin": tuple(NOW + timedelta(seconds=one) for one in (-601, -600, -599, -1, 0, 1)),
        "minutes": (0, 1, 2, 60 * 24 * 365 * 20),
        "issuer": (("intermediate", ("root", "ecdsa-p384")), ("root", ("root", "ecdsa-p384")), ("intermediate", ("decoy", "ecdsa-p384")), ("second root", ("second root", "ecdsa-p256")), ("Intermediate", forged.leaf.issuer[1])),
        "ct": ((), (("ct", "rsa"),), (("other ct", "ecdsa-p256"),), (("ct", "ecdsa-p256"), ("other ct", "ecdsa-p256")), (("ct", "ecdsa-p256"),) * 2),
        "ct_time": tuple(one + timedelta(milliseconds=step) for one in (BEGIN, END) for step in (-1, 0, 1)),
        "serial": (1, 1 << 158, 127, 128),
        "extra": (((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True),), ((x509.OCSPNoCheck(), False),), ((x509.NameConstraints([x509.DNSName("a.test")], None), True),), ((x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]), True),)),
    }  # fmt: skip
    name = rng.choice(list(changes))
    leaf = replace(forged.leaf, **{name: rng.choice(changes[name])})
    return case(replace(forged, leaf=leaf).build(), forged.kind), f"{name} {(begin - leaf.begin).total_seconds():+.0f} s" if name == "begin" else name  # fmt: skip


def _authority(rng, forged):
    """The authority itself is another: its certificates, each signed anew by its issuer, its interval."""
    between, root = chain()
    if rng.random() < 0.6:
        at = rng.randrange(2)
        tbs, algorithm, _ = differ_der.load((between, root)[at]).rows
        other, done = differ_der.mutated(rng, tbs.dump(), forged.leaf.build())
        signature = differ_der.Node(0x03, b"\0" + FileKey(private("root", "ecdsa-p384")).sign(other))
        der = differ_der.Node(0x30, other + algorithm.dump() + signature.dump()).dump()
        row, done = (((der, root), (between, der))[at]), f"{('intermediate', 'root')[at]} {done}"
    else:
        edge = timedelta(seconds=rng.choice((-1, 0, 1)))
        variants = {
            "end": authority("intermediate", ("intermediate", "ecdsa-p384"), ("root", ("root", "ecdsa-p384")), path=0, end=NOW + edge),
            "begin": authority("intermediate", ("intermediate", "ecdsa-p384"), ("root", ("root", "ecdsa-p384")), path=0, begin=NOW + edge),
            "purpose": authority("intermediate", ("intermediate", "ecdsa-p384"), ("root", ("root", "ecdsa-p384")), path=0, extended=rng.choice((ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CERTIFICATE_TRANSPARENCY))),
            "root alone": root, "intermediate alone": between,
        }  # fmt: skip
        done = rng.choice(list(variants))
        row = (variants[done],) if "alone" in done else (variants[done], root)
        row = row[::-1] if rng.random() < 0.1 else row
    found = case(forged.build(), forged.kind)
    document = json.loads(found.root)
    document["certificateAuthorities"][0]["certChain"]["certificates"] = [
        {"rawBytes": encode64(der)} for der in row
    ]
    return replace(found, root=json.dumps(document).encode()), done


def _windows(rng, forged):
    """Everybody's interval, with an edge near the time of signing."""
    edge = NOW + timedelta(milliseconds=rng.choice((-60_001, -60_000, -59_999, -1, 0, 1, 1000, 86_400_000)))
    window = rng.choice((Window(BEGIN, edge), Window(edge, END), Window(edge, None)))
    name = rng.choice(("logs", "authorities", "ctlogs", "timestamps"))
    rows = tuple(replace(row, window=window) for row in getattr(roots(), name))
    return case(forged.build(), forged.kind, replace(roots(), **{name: rows})), name


def _stamp(rng, forged):
    """Timestamps at other times, by other authorities, of another form."""
    around = tuple(NOW + timedelta(seconds=one) for one in (-61, -60, 539, 540, 541, 301, -86400, 0.5))
    changes = {
        "when": around, "status": ("rejection", "granted_with_mods", "waiting"), "digest": ("sha1", "sha384", "sha512"),
        "embed": (False,), "holder": (("other", "ecdsa-p256"), ("tsa", "rsa")), "critical": (False,),
        "purposes": ((), (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING), (ExtendedKeyUsageOID.CODE_SIGNING,)),
        "begin": (NOW, NOW + timedelta(seconds=1)), "end": (NOW, NOW - timedelta(seconds=1)),
    }  # fmt: skip
    name = rng.choice(list(changes))
    tsa = replace(Tsa(), **{name: rng.choice(changes[name])})
    tsas = (tsa, *(forged.tsas or ())) if rng.random() < 0.5 else (tsa,)
    known = roots()
    if name in ("purposes", "critical", "begin", "end") or rng.random() < 0.3:
        known = replace(known, timestamps=(TimestampAuthority(tsa.chain, Window(BEGIN, END)),))
    return case(replace(forged, tsas=tsas).build(), forged.kind, known), name


def _token(rng, forged):
    """A timestamp whose content, attributes or shell are changed and signed anew."""
    tree = differ_der.load(Tsa().stamp(forged.signature))
    data = tree.rows[1].rows[1].rows[0]
    held, signer = data.rows[2].rows[1].rows[0], data.rows[-1].rows[0]
    attributes = differ_der.Node(0x31, rows=signer.rows[3].rows)
    info, donor, done = held.rows[0].dump(), SECOND.stamp(forged.signature), ""
    kind = rng.choice(("info", "info", "attributes", "shell"))
    if kind == "info":
        info, done = differ_der.mutated(rng, info, donor)
        held.rows, held.body = None, info
        digest = next(row for row in attributes.rows if row.rows[0].body == DIGEST_ATTRIBUTE).rows[1].rows[0]
        digest.rows, digest.body = None, hashlib.sha256(info).digest()
    raw = attributes.dump()
    if kind == "attributes":
        raw, done = differ_der.mutated(rng, raw, donor)
    signer.rows[3] = differ_der.Raw(0xA0, b"\xa0" + raw[1:])
    signer.rows[-1] = differ_der.Node(0x04, FileKey(private("tsa")).sign(raw))
    token = tree.dump()
    if kind == "shell":
        token, done = differ_der.mutated(rng, token, donor)
    bundle = replace(forged, tsas=()).build()
    return case(replace(bundle, timestamps=(token or b"\0",)), forged.kind), f"{kind}: {done}"


DIGEST_ATTRIBUTE = bytes.fromhex("2a864886f70d010904")
SECOND = Tsa(root=("second tsa root", "rsa"), holder=("second tsa", "rsa"))
CHANGES = (
    ("body", _body),
    ("body", _body),
    ("promise", _promise),
    ("place in the tree", _place),
    ("checkpoint", _checkpoint),
    ("checkpoint", _checkpoint),
    ("log", _origin),
    ("cosignature", _witness),
    ("certificate", _certificate),
    ("certificate", _certificate),
    ("certificate", _certificate),
    ("profile", _profile),
    ("authority", _authority),
    ("window", _windows),
    ("timestamp", _stamp),
    ("timestamp", _token),
    ("timestamp", _token),
)
