"""Verify an audit pack (weighbridge.audit-pack/1) from its formats alone: this file, Python and `cryptography`, no Weighbridge.

    python verify_pack.py PACK.zip --root ROOT.pub.pem [--checkpoint KEPT] [--json]

Checked are the digest of every member; the authority's versions, from a root key that you hold; each log's checkpoint,
and that the entries add up to it; the time that the log signed for each entry; that each record is the one its entry
is about, and who signed it; and every list, made again from those records. Exit code 0: all of it holds. 1: something
does not, and is named. 3: something is not in the pack, and is named. 2: this was called wrongly.
docs/reference/audit.md describes the formats. Take this file from a release of Weighbridge that you trust, not from the
pack: `weighbridge audit --script FILE` writes it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from weighbridge.gate.pack_changes import CHANGING, person_of
from weighbridge.gate.pack_formats import (
    DAMAGE,
    INDEX,
    PACK_TYPE,
    SCHEMA,
    SIGNATURE,
    STATEMENT_TYPE,
    Findings,
    Pack,
    Version,
    Wrong,
    canonical,
    check_members,
    checkpoint,
    folded,
    included,
    key_id,
    moment,
    node,
    opened,
    plain,
    read_authority,
    sha256,
    signed_by,
)
from weighbridge.gate.pack_lists import LISTS, Entry, Lists
from weighbridge.gate.pack_records import Chain, record_in

ADMISSION = "https://weighbridge.dev/attestation/admission/v0.1"
SUMMARY, BOM = "https://slsa.dev/verification_summary/v1", "https://cyclonedx.org/bom"
ROLES = {"decision": "decide", "name": "record", "deployment": "record", "revocation": "revoke", "waiver": "waive",
         "break-glass": "waive", "policy": "policy", "mode": "policy", "approval": "", "advisory": "revoke", "lift": "revoke", "admission": "admit", "bom": "bom"}  # fmt: skip
"""Kind of record: the role that its signer must hold for it to count; an approval takes that of what it approves."""
UNSIGNED = ("weighbridge.genesis/1", "weighbridge.log-follows/1", "weighbridge.log/1")
EVERY_PROJECT = "*"


@dataclass
class Log:
    """One log of records as the pack has it: what is said of it, and how far its tree was built again."""

    number: int
    meta: Any
    size: int
    root: bytes
    more: tuple[str, ...]
    built: int
    edge: list[bytes]
    roots: dict[int, bytes] = field(default_factory=dict)
    """Roots that checkpoints say and that the entries did not reach yet."""

    @property
    def name(self) -> str:
        """Its folder in the pack."""
        return f"log/{self.number}"

    @property
    def id(self) -> str:
        """The log's id, in hex."""
        return key_id(self.meta["key"])[7:]

    def add(self, body: bytes) -> None:
        """Append an entry to the tree, and hold the tree against what a checkpoint of that size says."""
        self.edge.append(hashlib.sha256(b"\x00" + body).digest())
        carry = self.built
        while carry & 1:
            right = self.edge.pop()
            self.edge[-1] = node(self.edge[-1], right)
            carry >>= 1
        self.built += 1
        said = self.roots.pop(self.built, None)
        if said is not None and folded(self.edge) != said:
            raise Wrong(
                f"a checkpoint of {self.built} entries is of another tree: the log was forked or rewritten"
            )


class Reader:
    """Reads a pack's logs from the first entry to the last, believes nothing unsigned, and hands records to the lists."""

    def __init__(
        self, pack: Pack, versions: list[Version], lists: Lists, found: Findings, kept: str = ""
    ) -> None:
        self.kept = kept
        """A checkpoint that the auditor kept, or nothing."""
        self.pack = pack
        self.versions = versions
        self.lists = lists
        self.found = found
        self.logs: list[Log] = []
        self.records = 0
        self.boms: dict[str, tuple[str, tuple[str, ...]]] = {}
        """Bundle to the digest of the bill of materials it carries, and what that is about."""
        self.chain = Chain()
        self._known = {version.digest: version for version in versions}
        self._now: Version | None = None

    def read(self, logs: Sequence[Any]) -> None:
        """Read everything; what is wrong is noted, and reading goes on."""
        for number, row in enumerate(logs):
            self._try(f"log/{number}/log.json", partial(self._begin, number, row))
        if self.kept:
            self._try("the kept checkpoint", self._compare_kept)
        self._each("earlier.jsonl", self._earlier)
        self.chain.forget()
        for log in self.logs:
            if log.number == 0 and log.meta["start"] == 0:
                self.chain.begin()
            self._each(f"{log.name}/entries.jsonl", partial(self._entry, log))
            self._try(f"{log.name}/log.json", partial(self._close, log))

    def _try(self, where: str, do: Callable[[], Any]) -> None:
        try:
            do()
        except DAMAGE as error:
            self.found.add(where, said(error))

    def _each(self, name: str, do: Callable[[Any], None]) -> None:
        try:
            for number, row in enumerate(self.pack.lines(name), 1):
                where = f"{name} line {number}"
                if isinstance(row, dict) and "index" in row:
                    where += f" (entry {row['index']})"
                self._try(where, partial(do, row))
        except DAMAGE as error:
            self.found.add(name, said(error))

    def _begin(self, number: int, row: Any) -> None:
        self.logs.append(self._open(number, row))

    def _compare_kept(self) -> None:
        if gap := check_kept(self.logs, self.kept):
            self.found.missing.append(f"the kept checkpoint cannot be compared: {gap}")

    def _open(self, number: int, row: Any) -> Log:
        """Open a log: its key is the authority's for its origin, its checkpoint signed with that key."""
        meta = json.loads(self.pack.read(f"log/{number}/log.json"))
        keys = {one["origin"]: one["pem"] for one in self.versions[-1].document["logs"]}
        if meta["origin"] != row["origin"] or keys.get(meta["origin"]) != meta["key"]:
            raise Wrong(f"the authority names no log {meta['origin']!r} with this key")
        size, root, more = checkpoint(meta["checkpoint"], meta["origin"], meta["key"])
        if number:
            before = self.logs[number - 1]
            if f"Log continues — {meta['origin']} {key_id(meta['key'])[7:]}" not in before.more:
                raise Wrong(
                    f"the log before it, {before.meta['origin']!r}, does not say that this one follows"
                )
        edge = [plain(step) for step in meta["edge"]]
        if len(edge) != int(meta["start"]).bit_count() or meta["start"] > size:
            raise Wrong("where it starts and the edge of its tree do not belong together")
        return Log(number, meta, size, root, more, meta["start"], edge)

    def _close(self, log: Log) -> None:
        """Hold the tree of all entries against the checkpoint, and the first checkpoint of the period against both."""
        if (log.built, folded(log.edge)) != (log.size, log.root):
            raise Wrong(f"its {log.built} entries do not add up to the {log.size} of its signed checkpoint")
        if log.roots:
            raise Wrong(f"a checkpoint says {max(log.roots)} entries, the newest one {log.size}")

    def _earlier(self, row: Any) -> None:
        """Take an entry from before the period, by its proof of inclusion in the newest checkpoint."""
        log = self.logs[row["log"]]
        self.chain.forget()  # of the time before the period, not every decision is here
        body = plain(row["body"])
        leaf = hashlib.sha256(b"\x00" + body).digest()
        if included(leaf, row["index"], log.size, [plain(step) for step in row["proof"]]) != log.root:
            raise Wrong("its proof does not lead to the log's checkpoint")
        self._take(log, row, body)

    def _entry(self, log: Log, row: Any) -> None:
        body = plain(row["body"])
        if row["index"] != log.built:
            raise Wrong(f"entry {log.built} comes next in the log")
        try:
            self._take(log, row, body)
        finally:
            log.add(body)

    def _take(self, log: Log, row: Any, body: bytes) -> None:
        message = f'{{"body":"{row["body"]}","integratedTime":{row["time"]:d},"logID":"{log.id}","logIndex":{row["index"]:d}}}'
        if not signed_by(log.meta["key"], message.encode(), plain(row["promise"])):
            raise Wrong("the log did not sign this time and place for it")
        value = json.loads(body)
        if value.get("kind") in UNSIGNED:
            self._beginning(log, row, value)
        elif "authority" in row:
            self._authority(log, row, value)
        elif "missing" in row:
            self.chain.forget()  # it may have been a decision
            self.found.missing.append(f"{log.name} entry {row['index']} of {row['time']}: {row['missing']}")
        elif "bundle" in row:
            self._record(log, row, value)
        else:
            raise Wrong("the log has it, and the pack does not say what it is")

    def _beginning(self, log: Log, row: Any, value: Any) -> None:
        if value["kind"] == UNSIGNED[0] and (log.number, row["index"]) == (0, 0):
            self.lists.begin(value["policy"])
        elif value["kind"] == UNSIGNED[1] and log.number and row["index"] == 0:
            before = self.logs[log.number - 1]
            if (value["origin"], value["size"], plain(value["root"])) != (
                before.meta["origin"],
                before.size,
                before.root,
            ):
                raise Wrong(f"it does not follow the {before.size} entries of {before.meta['origin']!r}")
        elif "bundle" in row:
            raise Wrong("an entry that nobody signed carries a record")

    def _authority(self, log: Log, row: Any, value: Any) -> None:
        version = self._known.get(f"sha256:{value['spec']['payloadHash']['value']}")
        if version is None or version.number != row["authority"]:
            raise Wrong("it is of no version of the authority in authority.jsonl")
        if self._now is not None and version.number <= self._now.number:
            raise Wrong(f"version {version.number} comes after version {self._now.number}")
        version.at, self._now = row["time"], version
        self.lists.version(version, (log.number, row["index"]))

    def _record(self, log: Log, row: Any, value: Any) -> None:
        """Take a record: the entry is about this envelope, signature and verifier, and the signature verifies."""
        envelope, spec = row["bundle"]["dsseEnvelope"], value["spec"]
        (logged,), (own,) = spec["signatures"], envelope["signatures"]
        pem = plain(logged["verifier"]).decode()
        bound = (spec["payloadHash"]["value"], logged["signature"])
        if bound != (hashlib.sha256(plain(envelope["payload"])).hexdigest(), own["sig"]):
            raise Wrong("the entry is about another record")
        person = person_of(pem)
        signer, key, pem = self._signer(pem, row["time"])
        payload = opened(envelope, pem)
        self._checkpoints(log, row)
        self.records += 1
        if envelope["payloadType"] != STATEMENT_TYPE:
            return
        statement = json.loads(payload)
        bundle = sha256(canonical({**envelope, "signatures": [{"keyid": "", "sig": own["sig"]}]}))
        try:
            entry = _entry_of(statement, (log.number, row["index"]), row["time"], (signer, key, bundle))
        except DAMAGE as error:  # anybody may hand in what looks like a record
            odd = Entry("?", (log.number, row["index"]), row["time"], signer, key, "", "", (), {}, bundle)
            self.lists.refuse(odd, f"it is not well-formed: {said(error)}")
            return
        if entry is not None:
            self._believe(replace(entry, person=person), row, statement)

    def _believe(self, entry: Entry, row: Any, statement: Any) -> None:
        """Hand a record to the lists, if its signer may say such a thing."""
        if "evidence" in row:
            entry = _with_evidence(entry, row["evidence"])
        if (
            entry.kind == "bom"
        ):  # a claim is of no project: it counts for the one in which its signer holds the role
            projects = self._now.document["projects"] if self._now else {}
            if self._now and any(self._now.may(entry.signer, "bom", project) for project in projects):
                self.boms[entry.bundle] = sha256(canonical(statement["predicate"])), entry.about
            return
        role = ROLES[entry.kind] or CHANGING.get(entry.body.get("kind"), "nobody's")
        if self._now is None or not entry.signer or not self._now.may(entry.signer, role, entry.project):
            self.lists.refuse(entry, f"its signer does not hold the role {role} in {entry.project!r}")
            return
        if entry.kind == "decision" and "evidence" not in row:
            self.found.missing.append(
                f"log/{entry.place[0]} entry {entry.place[1]}: the evidence of this decision"
            )
        if entry.kind == "decision" and (why := self.chain.refusal(entry.body)):
            self.lists.refuse(entry, why)
            return
        try:
            self.lists.take(entry)
        except DAMAGE as error:
            self.lists.refuse(entry, f"it is not well-formed: {said(error)}")

    def _signer(self, pem: str, when: int) -> tuple[str, str, str]:
        """Return the authority's name for who signed, the key's id, and the key; nothing for a stranger's name."""
        if "CERTIFICATE" not in pem:
            key = key_id(pem)
            return (self._now.named(key, when) if self._now else ""), key, pem
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        certificate = x509.load_pem_x509_certificate(pem.encode())
        own = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return (self._now.vouched(certificate, when) if self._now else ""), key_id(own), own

    def _checkpoints(self, log: Log, row: Any) -> None:
        """Note what the record's own proof says of the tree: a root of some size, signed by the log when it was taken in."""
        for proof in row["bundle"]["verificationMaterial"].get("tlogEntries", []):
            if plain(proof["logId"]["keyId"]).hex() != log.id:
                continue
            inner = proof["inclusionProof"]
            size, root, _ = checkpoint(inner["checkpoint"]["envelope"], log.meta["origin"], log.meta["key"])
            leaf, steps = (
                hashlib.sha256(b"\x00" + plain(row["body"])).digest(),
                [plain(s) for s in inner["hashes"]],
            )
            if included(leaf, row["index"], size, steps) != root:
                raise Wrong("the record's own proof does not lead to its checkpoint")
            if size > log.built and log.roots.setdefault(size, root) != root:
                raise Wrong(f"two checkpoints of {size} entries differ: the log was forked")


def _entry_of(statement: Any, place: tuple[int, int], when: int, by: tuple[str, str, str]) -> Entry | None:
    """Return a statement as a record; None for claims, which no list is made of."""
    about = tuple(
        row["name"]
        for row in statement.get("subject") or []
        if row.get("name", "").partition(":")[0] in ("wb1", "wbw1", "alias")
        and row["name"].partition(":")[2] == row["digest"]["sha256"]
    )
    predicate = statement["predicate"]
    signer, key, bundle = by
    if statement["predicateType"] == SUMMARY:
        body = predicate[ADMISSION]
        return Entry("admission", place, when, signer, key, body["project"], "", about, body, bundle)
    if statement["predicateType"] == BOM:
        return Entry("bom", place, when, signer, key, EVERY_PROJECT, "", about, {}, bundle)
    kind, predicate = record_in(statement)
    if kind not in ROLES:
        return None
    project, actor, body = predicate["project"], predicate["actor"], predicate["body"]
    moment_said = str(predicate.get("at", ""))
    return Entry(kind, place, when, signer, key, project, actor, about, body, bundle, said=moment_said)


def _with_evidence(entry: Entry, text: str) -> Entry:
    if entry.kind != "decision" or sha256(text.encode()) != entry.body["digests"]["evidence"]:
        raise Wrong("the evidence beside the decision is not the one that it names")
    return replace(entry, evidence=json.loads(text))


def said(error: BaseException) -> str:
    """Say what went wrong while something was read."""
    return str(error) if isinstance(error, Wrong) else f"cannot be read ({type(error).__name__}: {error})"


# ------------------------------------------------------------------------------- everything else in a pack


class Compared:
    """Holds rows that were made from the records against those in the pack, list by list, in order."""

    def __init__(self, pack: Pack, found: Findings) -> None:
        self._rows = {name: pack.lines(f"lists/{name}.jsonl") for name in LISTS}
        self._found = found
        self._given_up: set[str] = set()
        self.counts = dict.fromkeys(LISTS, 0)

    def __call__(self, name: str, row: dict[str, Any]) -> None:
        """Compare the next row of a list; the first difference of each list is named."""
        self.counts[name] += 1
        if name in self._given_up:
            return
        try:
            there = next(self._rows[name], None)
        except DAMAGE as error:
            there = said(error)
        if there is None or canonical(there) != canonical(row):
            self._given_up.add(name)
            was = "is missing" if there is None else "is not what the records say"
            self._found.add(
                f"lists/{name}.jsonl line {self.counts[name]}", f"{was}: {canonical(row).decode()[:400]}"
            )

    def end(self) -> None:
        """Find rows that nothing in the records stands behind."""
        for name, rows in self._rows.items():
            if name not in self._given_up and next(rows, None) is not None:
                self._found.add(
                    f"lists/{name}.jsonl line {self.counts[name] + 1}", "nothing in the records says so"
                )


def frozen(logs: Sequence[Log]) -> Iterator[dict[str, Any]]:
    """Yield a row for each log that says it is frozen."""
    for log in logs:
        line = next((line for line in log.more if line.startswith("Log frozen — ")), None)
        if line is not None:
            follows = next((line for line in log.more if line.startswith("Log continues — ")), None)
            yield {"what": "log-frozen", "origin": log.meta["origin"], "says": line, "follows": follows}


def check_models(pack: Pack, reader: Reader, found: Findings) -> None:
    """Hold manifests against their identities and bills of materials against the records that carry them."""
    manifests, boms = set(), set()
    for row in pack.lines("models/manifests.jsonl"):
        manifests.add(row["manifest"])
        if f"wb1:{hashlib.sha256(row['text'].encode()).hexdigest()}" != row["manifest"]:
            found.add("models/manifests.jsonl", f"{row['manifest']} is not the digest of its manifest")
    for row in pack.lines("models/boms.jsonl"):
        boms.add(row["manifest"])
        digest, about = reader.boms.get(row["bundle"], ("", ()))
        if digest != sha256(canonical(row["bom"])) or row["manifest"] not in about:
            found.add("models/boms.jsonl", f"that of {row['manifest']} is not in the record {row['bundle']}")
    for manifest in sorted(reader.lists.ran):
        for what, there in (("manifest", manifests), ("bill of materials", boms)):
            if manifest not in there:
                found.missing.append(f"the {what} of {manifest}, which ran")


def check_policy(pack: Pack, policy: str, found: Findings) -> None:
    """Hold the policy files against the digest that the signed records pin."""
    names = {name.removeprefix("policy/"): name for name in pack.names() if name.startswith("policy/")}
    files = {short: hashlib.sha256(pack.read(name)).hexdigest() for short, name in names.items()}
    if policy and sha256(canonical(files)) != policy:
        found.add("policy/", f"these files are not the policy {policy} that the records pin")


def check_signature(pack: Pack, index: bytes, version: Version, found: Findings) -> None:
    """Check who signed the index: the gate of that registry; nobody else can exchange what no record stands behind."""
    if SIGNATURE not in pack.names():
        found.told.append("the index is not signed: audit.json and framework-*.json are anybody's word")
        return
    envelope = json.loads(pack.read(SIGNATURE))
    for name, row in version.document["identities"].items():
        if row.get("pem") and version.may(name, "decide", EVERY_PROJECT):
            try:
                if opened(envelope, row["pem"], PACK_TYPE) == index:
                    found.told.append(f"the index is signed by {name}")
                    return
            except Wrong:
                continue
    found.add(SIGNATURE, "it is not a signature over this index by an identity that may decide")


def check_kept(logs: Sequence[Log], note: str) -> str:
    """Hold a checkpoint that the auditor kept against the log: what it says must be a beginning of what is here."""
    origin = note.partition("\n")[0]
    log = next((log for log in logs if log.meta["origin"] == origin), None)
    if log is None:
        raise Wrong(f"no log here is {origin!r}")
    size, root, _ = checkpoint(note if note.endswith("\n") else note + "\n", origin, log.meta["key"])
    if size < log.meta["start"] or size == 0:
        return f"it is from before the period: ask for a pack with entries from {size} on"
    if size > log.size:
        raise Wrong(f"it has {size} entries, the log here {log.size}: the log was rolled back")
    if size == log.meta["start"] and root != folded([plain(step) for step in log.meta["edge"]]):
        raise Wrong("the log here does not begin with it")
    if size > log.meta["start"]:
        log.roots[size] = root  # held against the tree when it has grown to that size
    return ""


def verify(pack: Pack, roots: Sequence[str], kept: str = "") -> tuple[Findings, dict[str, Any]]:
    """Verify a pack; return what was found and what was counted."""
    found = Findings()
    raw = pack.read(INDEX)
    index = json.loads(raw)
    if index["schema"] != SCHEMA:
        raise Wrong(f"it is {index['schema']!r}; read here is {SCHEMA}")
    check_members(pack, index, found)
    try:
        versions = read_authority(pack, index["registry"], roots)
    except DAMAGE as error:
        found.add("authority.jsonl", said(error))
        return found, {}
    compared = Compared(pack, found)
    lists = Lists(compared, moment(index["since"]), moment(index["until"]))
    reader = Reader(pack, versions, lists, found, kept)
    try:
        reader.read(index["logs"])
        lists.finish(versions, moment(index["as_of"]), frozen(reader.logs))
        compared.end()
        check_models(pack, reader, found)
        check_policy(pack, lists.policy, found)
        check_signature(pack, raw, versions[-1], found)
    except DAMAGE as error:
        found.add("the pack", said(error))
    for version in versions:
        if version.at is None:
            found.add("authority.jsonl", f"no log entry here is of version {version.number}")
    return found, {
        "records": reader.records,
        "lists": compared.counts,
        "since": index["since"],
        "until": index["until"],
    }


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description="Verify an audit pack of Weighbridge from its formats alone."
    )
    parser.add_argument("pack", type=Path)
    parser.add_argument(
        "--root", type=Path, action="append", required=True, help="a root key of the registry, PEM"
    )
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint of its log that you kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        roots = [path.read_text(encoding="ascii") for path in options.root]
        kept = options.checkpoint.read_text(encoding="utf-8") if options.checkpoint else ""
        found, counted = verify(Pack(options.pack), roots, kept)
    except DAMAGE as error:
        sys.stderr.write(f"{options.pack}: {said(error)}\n")
        return 1 if isinstance(error, Wrong) else 2
    if options.json:
        answer = {"wrong": found.wrong, "missing": found.missing, "told": found.told, **counted}
        sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(_text(found, counted)) + "\n")
    return 1 if found.wrong else 3 if found.missing else 0


def _text(found: Findings, counted: dict[str, Any]) -> Iterator[str]:
    for word, rows in (("WRONG", found.wrong), ("missing", found.missing), ("note", found.told)):
        yield from (f"{word}: {ascii(row)[1:-1]}" for row in rows)
    if counted:
        yield f"{counted['records']} records from {counted['since']} to {counted['until']}"
        yield from (f"{number:6d}  {name}" for name, number in counted["lists"].items())
    yield "NOT VERIFIED" if found.wrong else "verified, with gaps" if found.missing else "verified"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
