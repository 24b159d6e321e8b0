"""The audit pack: its lists against a story that was played, and every way of changing it that we could think of."""

import copy
import json
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from weighbridge.claims.records import event
from weighbridge.core.advisory import AdvisorySeverity, parse_target
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.core.lineage import AdvisoryKind
from weighbridge.core.tier import Origin
from weighbridge.gate import advisories, pack_formats, verify_pack
from weighbridge.gate import pack as packing
from weighbridge.gate.audit import audit
from weighbridge.gate.pack import Wanted, make_pack
from weighbridge.gate.pack_formats import Pack, canonical
from weighbridge.gate.pack_script import script
from weighbridge.gate.policies import use_policy
from weighbridge.gate.revoke import revoke
from weighbridge.gate.verify_pack import main, verify
from weighbridge.keys.files import generate
from weighbridge.ledger.sequencer import Log
from weighbridge.registry import deployments, rotation, tally
from weighbridge.registry.intake import accept
from weighbridge.registry.outbox import submit
from weighbridge.store import schema
from world import World

DAY = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKEN = "hf_" + "A" * 36


class Story:
    """A registry with a history, told in hours from noon of the first day."""

    def __init__(self, folder):
        self.world = world = World(folder)
        self.models = {}
        owner = world.secret("owner")
        base = self.ready("base", 1.0)
        tuned = self.ready("tuned", 5.0, base=[base])
        other = self.ready("other", 9.0)
        for name, folder in (("base", base), ("tuned", tuned), ("other", other)):
            assert world.promote(folder).decision.allow
            assert world.admit(folder, target=f"prod/{name}").decision.allow
        world.hand.pass_(hours=1)  # 13:00
        self.bare(self.ready("bare", 3.0), "prod/bare")
        self.waive(other, owner)
        assert world.admit(other).decision.allow  # uses the waiver
        world.hand.pass_(hours=1)  # 14:00
        self.say("revocation", base, {"reason": "spite", "since": rfc3339(world.hand.now())}, generate())
        self.changed_policy(owner)
        self.untold(other)
        self.mode("observe")
        world.admit(other)
        self.mode("enforce")
        assert world.admit(other).decision.allow
        world.hand.pass_(hours=1)  # 15:00
        self.say(
            "revocation",
            base,
            {"reason": "poisoned", "since": rfc3339(world.hand.now() - timedelta(minutes=90))},
            owner,
        )
        world.hand.pass_(hours=2)  # 17:00
        self.end("prod/base")
        self.alone()
        world.hand.pass_(hours=22)  # 15:00 of the second day: admissions of the first have ended

    def ready(self, name, seed, base=()):
        folder = self.world.ready(name, seed=seed, base=base)
        self.models[name] = str(self.world.manifest(folder).digest)
        return folder

    def submit(self, draft):
        with self.world.registry.writing():
            return submit(self.world.registry, draft)[-1]

    def bare(self, folder, target):
        self.submit(deployments.deploy(self.world.registry, self.world.manifest(folder).digest, target))

    def end(self, target):
        self.submit(deployments.deploy(self.world.registry, None, target))

    def say(self, kind, folder, body, key):
        facts = self.world.registry.event_facts()
        return self.world.say(event(kind, (self.world.manifest(folder).digest,), body, **facts), key)

    def waive(self, folder, key):
        until = rfc3339(self.world.hand.now() + timedelta(days=30))
        self.say(
            "waiver",
            folder,
            {"rule": "pickle-name", "fingerprint": "0" * 32, "reason": "we read it", "expires": until},
            key,
        )

    def changed_policy(self, key):
        folder = self.world.folder / "policy"
        shutil.copytree(self.world.registry.layout.policy, folder)
        path = folder / "policy.toml"
        path.write_text(path.read_text().replace("max_age_days = 30", "max_age_days = 20"))
        use_policy(self.world.registry, folder, key)

    def untold(self, folder):
        path = self.world.registry.layout.policy / "policy.toml"
        before = path.read_text()
        path.write_text(before + "\n# by somebody\n")
        assert self.world.admit(folder).decision.exit_code == 3
        path.write_text(before)

    def mode(self, value):
        registry = self.world.registry
        with registry.writing(), tally.keeping(registry) as connection:
            connection.exec_driver_sql("DELETE FROM setting WHERE key = 'mode'")
            connection.execute(schema.setting.insert().values(**registry.record(), key="mode", value=value))

    def alone(self):
        """Somebody who trains, packages and evaluates: one person for everything."""
        key = self.world.person("alone", "data", "train", "evaluate", "package")
        folder, dataset = self.world.model("alone", 13.0), self.world.dataset("alone-data", "x\n")
        self.models["alone"] = str(self.world.manifest(folder).digest)
        self.world.say_data(dataset, key)
        self.world.say_train(folder, key, data=[dataset])
        self.world.say_evaluate(folder, key)
        self.world.say_package(folder, key)
        self.world.take(folder)
        assert self.world.promote(folder).decision.allow
        assert self.world.admit(folder, target="prod/alone").decision.allow

    def pack(self, name, **wanted):
        target = self.world.folder / name
        documents = {"audit.json": audit(self.world.registry).to_json()}
        made = make_pack(self.world.registry, target, Wanted(**({"documents": documents} | wanted)))
        return target, made

    @property
    def roots(self):
        return list(self.world.registry.pin.roots)


@pytest.fixture(scope="module", autouse=True)
def _remembered():
    """Check each signature once: a thousand packs that differ in one place have all others in common."""
    plain = pack_formats.signed_by
    pack_formats.signed_by = verify_pack.signed_by = lru_cache(maxsize=None)(plain)
    yield
    pack_formats.signed_by = verify_pack.signed_by = plain


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    made = Story(tmp_path_factory.mktemp("story"))
    yield made
    made.world.registry.close()


@pytest.fixture(scope="module")
def whole(story):
    path, made = story.pack("whole.zip")
    assert made.wrong == made.missing == ()
    return path


def rows(path, name):
    with zipfile.ZipFile(path) as archive:
        return [json.loads(line) for line in archive.read(f"lists/{name}.jsonl").splitlines()]


def hour(number):
    return rfc3339(DAY + timedelta(hours=number))


def taken(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def put(folder, members, *, fix=False, sign=True):
    """Write members again, as somebody would who changed them; `fix` also brings the index into line."""
    members = dict(members)
    if fix:
        index = json.loads(members["index.json"])
        listed = {row["path"]: row for row in index["members"]}
        import hashlib

        for name, data in members.items():
            if name not in ("index.json", "index.sig.json"):
                listed[name] = {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        index["members"] = [row for name, row in sorted(listed.items()) if name in members]
        members["index.json"] = canonical(index) + b"\n"
    if not sign:
        members.pop("index.sig.json")
    path = folder / "changed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def wrong(story, path, kept=""):
    return verify(Pack(path), story.roots, kept)[0].wrong


# What the lists say.


def test_the_pack_verifies_and_says_so(story, whole, tmp_path, capsys):
    root = tmp_path / "root.pem"
    root.write_text(story.roots[0])
    assert main([str(whole), "--root", str(root)]) == 0
    assert capsys.readouterr().out.rstrip().endswith("verified")
    found, counted = verify(Pack(whole), story.roots)
    assert (found.wrong, found.missing) == ([], [])
    assert found.told == ["the index is signed by gate"]
    assert counted["records"] == len([row for row in entries(whole) if "bundle" in row])


def entries(path, member="log/0/entries.jsonl"):
    return [json.loads(line) for line in taken(path)[member].splitlines()]


def test_what_ran_against_decisions(story, whole):
    found = {row["target"]: row for row in rows(whole, "running")}
    assert {name: row["state"] for name, row in found.items()} == {
        "prod/base": "revoked",
        "prod/tuned": "revoked",
        "prod/other": "blocked",
        "prod/bare": "no-decision",
        "prod/alone": "decided",
    }
    assert {row["target"] for row in rows(whole, "against-decisions")} == set(found) - {"prod/alone"}
    assert found["prod/bare"]["decision"] is None
    assert (found["prod/base"]["time"], found["prod/base"]["ended"]) == (hour(0), hour(5))
    assert found["prod/tuned"]["seconds_past_admission"] == 3 * 3600  # 24 hours, and it ran for 27
    assert found["prod/other"]["seconds_past_admission"] == 3600  # admitted again at 14:00
    assert found["prod/alone"]["seconds_past_admission"] == 0
    assert found["prod/alone"]["deployed_by"] == story.world.registry.actor


def test_waivers_with_who_why_until_and_how_often_they_were_used(story, whole):
    (row,) = rows(whole, "waivers")
    assert (row["manifest"], row["reason"], row["signer"]) == (story.models["other"], "we read it", "owner")
    assert row["until"] == rfc3339(DAY + timedelta(hours=1, days=30))
    assert (row["kind"], row["used"], row["approved_by"]) == ("waiver", 0, [])  # nothing there needed it


def test_changes_of_policy_authority_and_mode_with_who_approved_them(story, whole):
    found = rows(whole, "changes")
    (policy,) = [row for row in found if row["what"] == "policy"]
    assert (policy["signer"], policy["counted"], policy["time"]) == ("owner", True, hour(2))
    versions = [row for row in found if row["what"] == "authority"]
    assert [row["version"] for row in versions] == list(range(1, story.world.registry.authority.version + 1))
    assert len({row["approved_by"] for row in versions}) == 1
    assert "project *: alone may evaluate" in versions[-1]["changes"]
    assert [(row["from"], row["to"]) for row in found if row["what"] == "mode"] == [
        ("enforce", "observe"),
        ("observe", "enforce"),
    ]


def test_who_submitted_and_approved(story, whole):
    (row,) = rows(whole, "same-person")
    assert (row["who"], row["manifest"], row["decisions"]) == ("alone", story.models["alone"], 2)
    assert row["case"] == "evaluated what they built"


def test_who_asks_for_what_they_accepted(tmp_path):
    world = World(tmp_path)
    folder = world.model()
    announced = {entry.path: entry.sha256 for entry in world.manifest(folder).files}
    kept = world.take(folder, announced=announced, origin=Origin.THIRD_PARTY)
    accept(world.registry, kept, world.acceptance(reviewer=world.registry.actor))
    assert world.promote(folder).decision.allow
    target = tmp_path / "pack.zip"
    make_pack(world.registry, target, Wanted())
    (row,) = rows(target, "same-person")
    assert (row["case"], row["who"]) == (
        "accepted the origin of what they asked for",
        world.registry.actor,
    )
    world.registry.close()


def test_outages(story, whole):
    (row,) = rows(whole, "outages")
    assert (row["what"], row["checks"], row["time"]) == ("cannot-tell", ["policy.engine"], hour(2))


def test_the_time_from_what_was_known_to_quarantine(story, whole):
    (row,) = rows(whole, "responses")
    assert (row["known"], row["quarantined"], row["seconds_to_quarantine"]) == (hour(1.5), hour(3), 5400)
    affected = {one["target"]: one["ended"] for one in row["affected"]}
    assert affected == {"prod/base": hour(5), "prod/tuned": None}
    assert (row["still_running"], row["seconds_until_none_ran"]) == (1, None)


def test_a_strangers_revocation_is_listed_and_counts_for_nothing(story, whole):
    (row,) = rows(whole, "not-believed")
    assert (row["kind"], row["signer"]) == ("revocation", "")


def test_roles_on_a_day(story, whole):
    assert any(row["name"] == "alone" for row in rows(whole, "roles"))
    path, made = story.pack("as-of.zip", as_of=DAY + timedelta(hours=4))
    assert made.wrong == ()
    found = rows(path, "roles")
    assert not any(row["name"] == "alone" for row in found)
    assert {row["as_of"] for row in found} == {hour(4)}
    assert {(row["name"], row["role"]) for row in found} >= {
        ("owner", "revoke"),
        ("gate", "decide"),
        ("train-team", "train"),
    }
    assert wrong(story, path) == []


def test_manifests_and_bills_of_materials_of_what_ran(story, whole):
    members = taken(whole)
    manifests = {json.loads(line)["manifest"] for line in members["models/manifests.jsonl"].splitlines()}
    boms = [json.loads(line) for line in members["models/boms.jsonl"].splitlines()]
    assert (
        manifests
        == {row["manifest"] for row in boms}
        == {story.models[name] for name in ("base", "tuned", "other", "bare", "alone")}
    )
    assert {row["bom"]["bomFormat"] for row in boms} == {"CycloneDX"}


# A shorter period.


def test_a_period_carries_what_its_lists_rest_on(story):
    path, made = story.pack("since.zip", since=DAY + timedelta(hours=4))
    assert made.wrong == made.missing == ()
    found, _ = verify(Pack(path), story.roots)
    assert (found.wrong, found.missing) == ([], [])
    (index,) = [json.loads(taken(path)["index.json"])]
    (log,) = index["logs"]
    assert 0 < log["start"] < log["size"]
    assert {row["target"]: row["state"] for row in rows(path, "running")} == {
        "prod/base": "revoked",
        "prod/tuned": "revoked",
        "prod/other": "expired",
        "prod/bare": "no-decision",
        "prod/alone": "decided",
    }
    assert [row["version"] for row in rows(path, "changes")] == [story.world.registry.authority.version]
    assert all(row["time"] >= hour(4) for row in rows(path, "decisions"))
    early = entries(path, "earlier.jsonl")
    assert all(row["index"] < log["start"] for row in early)
    assert [row["until"] for row in rows(path, "waivers")]


def test_a_changed_earlier_record_is_named(story, tmp_path):
    members = taken(story.pack("since2.zip", since=DAY + timedelta(hours=4))[0])
    lines = members["earlier.jsonl"].splitlines()
    at = next(number for number, line in enumerate(lines) if b'"bundle"' in line)
    for change in ("proof", "time", "body"):
        row = json.loads(lines[at])
        row[change] = {
            "proof": row["proof"][:-1],
            "time": row["time"] + 1,
            "body": row["body"][:-8] + "AAAAAAA=",
        }[change]
        changed = [*lines[:at], canonical(row), *lines[at + 1 :]]
        path = put(tmp_path, members | {"earlier.jsonl": b"\n".join(changed) + b"\n"}, fix=True, sign=False)
        assert any(said.startswith(f"earlier.jsonl line {at + 1}") for said in wrong(story, path)), change


# Every member, changed.

WORD_ONLY = {"README.txt", "audit.json", "verify_pack.py"}
"""What no record stands behind; only the gate's signature over the index does."""


def flipped(data):
    """Change the last digit or letter, so that JSON stays JSON."""
    for at in range(len(data) - 1, -1, -1):
        if chr(data[at]).isalnum():
            return data[:at] + (b"1" if data[at : at + 1] != b"1" else b"2") + data[at + 1 :]
    return data + b"x"


def test_each_member_changed_is_named(story, whole, tmp_path):
    members = taken(whole)
    assert {name.partition("/")[0] for name in members} == {
        "index.json", "index.sig.json", "README.txt", "audit.json", "authority.jsonl", "earlier.jsonl", "lists", "log", "models", "policy", "verify_pack.py",
    }  # fmt: skip
    for name, data in members.items():
        if name in ("index.json", "index.sig.json"):
            continue
        path = put(tmp_path, members | {name: flipped(data)})
        assert any(said.startswith(f"{name}: ") for said in wrong(story, path)), name


def test_each_member_changed_with_its_digest_is_named_by_the_signature(story, whole, tmp_path):
    members = taken(whole)
    for name, data in members.items():
        if name in ("index.json", "index.sig.json"):
            continue
        path = put(tmp_path, members | {name: flipped(data)}, fix=True)
        by = (
            "authority.jsonl: " if name == "authority.jsonl" else "index.sig.json: "
        )  # whose word the rest is held against
        assert any(said.startswith(by) for said in wrong(story, path)), name


def test_each_member_changed_in_an_unsigned_pack_is_named_by_the_records(story, whole, tmp_path):
    members = taken(whole)
    silent = set()
    for name, data in members.items():
        if name in ("index.json", "index.sig.json"):
            continue
        path = put(tmp_path, members | {name: flipped(data)}, fix=True, sign=False)
        found = wrong(story, path)
        if not found:
            silent.add(name)
        elif not name.startswith(("policy/", "models/")):
            assert any(said.startswith(name) for said in found), (name, found)
    assert silent == WORD_ONLY


def test_a_changed_index_is_named(story, whole, tmp_path):
    members = taken(whole)
    index = json.loads(members["index.json"])
    for change in (
        {"since": hour(4)},
        {"until": hour(4)},
        {"as_of": hour(0)},
        {"registry": "0" * 16},
        {"logs": []},
    ):
        path = put(tmp_path, members | {"index.json": canonical(index | change)})
        assert wrong(story, path), change
    path = put(tmp_path, members | {"index.json": canonical(index | {"since": hour(4)})}, sign=False)
    assert any(said.startswith("lists/") for said in wrong(story, path))


def test_a_member_that_is_missing_or_too_many_is_named(story, whole, tmp_path):
    members = taken(whole)
    for name in members:
        if name in ("index.json", "index.sig.json"):
            continue
        path = put(tmp_path, {key: data for key, data in members.items() if key != name})
        assert f"{name}: is in the index and not in the pack" in wrong(story, path)
    path = put(tmp_path, members | {"lists/extra.jsonl": b"{}\n"})
    assert "lists/extra.jsonl: is not in the index" in wrong(story, path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_named(story, whole, tmp_path):
    path = put(tmp_path, taken(whole))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("lists/running.jsonl", b"")
    assert "lists/running.jsonl: is in the pack more than once" in wrong(story, path)


# Every entry, changed by somebody who may change everything but signatures.


def test_each_entry_left_out_is_named(story, whole, tmp_path):
    members = taken(whole)
    lines = members["log/0/entries.jsonl"].splitlines()
    for at in {0, 1, 5, len(lines) // 2, len(lines) - 1}:
        rest = b"\n".join([*lines[:at], *lines[at + 1 :]]) + b"\n"
        path = put(tmp_path, members | {"log/0/entries.jsonl": rest}, fix=True, sign=False)
        assert any(said.startswith("log/0/") for said in wrong(story, path)), at


@pytest.mark.parametrize(
    "what",
    [
        "bundle",
        "evidence",
        "authority",
        "time",
        "index",
        "promise",
        "payload",
        "signature",
        "own proof",
        "anothers",
    ],
)
def test_each_entry_changed_is_named(story, whole, tmp_path, what):
    members = taken(whole)
    lines = members["log/0/entries.jsonl"].splitlines()
    changed = 0
    other = json.loads(lines[-1])["bundle"]
    for at, line in enumerate(lines):
        row = json.loads(line)
        if not _change(row, what, other) or row == json.loads(line):
            continue
        changed += 1
        if changed % 6 != 1:
            continue  # a few of each kind, spread over the log
        data = b"\n".join([*lines[:at], canonical(row), *lines[at + 1 :]]) + b"\n"
        path = put(tmp_path, members | {"log/0/entries.jsonl": data}, fix=True, sign=False)
        said = wrong(story, path)
        assert any(one.startswith(f"log/0/entries.jsonl line {at + 1} ") for one in said), (what, at, said)
    assert changed


def _change(row, what, other):
    if what in ("bundle", "authority", "evidence"):
        if what not in row:
            return False
        if what == "evidence":
            row["evidence"] = row["evidence"].replace('"outcome":"pass"', '"outcome":"fail"', 1)
        elif what == "authority":
            row["authority"] += 1
        else:
            del row["bundle"]
        return True
    if what in ("time", "index"):
        row[what] += 1
        return True
    if what == "promise":
        row["promise"] = "MEUCIQ=="
        return True
    if "bundle" not in row:
        return False
    bundle = row["bundle"]
    if what == "anothers":
        row["bundle"] = other
    elif what == "payload":
        payload = bundle["dsseEnvelope"]["payload"]
        bundle["dsseEnvelope"]["payload"] = payload[:-8] + "fX19fX0="
    elif what == "signature":
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = other["dsseEnvelope"]["signatures"][0]["sig"]
    else:
        proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
        proof["hashes"] = [*proof["hashes"], proof["rootHash"]]
    return True


def test_an_entry_called_missing_is_told(story, whole, tmp_path):
    """Somebody who hides a deployment can say that its record is not there; it cannot be said without being seen."""
    members = taken(whole)
    lines = members["log/0/entries.jsonl"].splitlines()
    at = len(lines) - 1
    row = json.loads(lines[at])
    del row["bundle"]
    row["missing"] = "nothing of interest"
    data = b"\n".join([*lines[:at], canonical(row)]) + b"\n"
    found, _ = verify(
        Pack(put(tmp_path, members | {"log/0/entries.jsonl": data}, fix=True, sign=False)), story.roots
    )
    assert any(f"entry {row['index']}" in said for said in found.missing)
    assert any(said.startswith("lists/running.jsonl") for said in found.wrong)


@pytest.mark.parametrize("name", packing.pack_lists.LISTS)
def test_each_row_of_each_list_changed_left_out_or_added_is_named(story, whole, tmp_path, name):
    members = taken(whole)
    member = f"lists/{name}.jsonl"
    lines = members[member].splitlines()
    assert lines, "the story plays every list"
    variants = [[*lines, lines[-1]], [*lines, b'{"target": "prod/x"}']]
    for at, line in enumerate(lines):
        row = json.loads(line)
        variants.append([*lines[:at], *lines[at + 1 :]])
        for key in row:
            changed = copy.deepcopy(row)
            changed[key] = "x" if changed[key] != "x" else "y"
            variants.append([*lines[:at], canonical(changed), *lines[at + 1 :]])
        if len(variants) > 10:
            break
    for variant in variants:
        data = b"\n".join(variant) + b"\n" if variant else b""
        path = put(tmp_path, members | {member: data}, fix=True, sign=False)
        assert any(said.startswith(f"{member} line ") for said in wrong(story, path))


def test_a_forked_log_is_named(story, whole, tmp_path):
    """The log's owner can sign two histories; a record that was proven in another one gives it away."""
    registry = story.world.registry
    log, now = registry.log, story.world.hand.now()
    bodies = [entry.body for entry in log.entries()]
    members = taken(whole)
    lines = members["log/0/entries.jsonl"].splitlines()
    at = next(number for number, line in enumerate(lines) if b'"bundle"' in line)
    row = json.loads(lines[at])
    fork = Log.create(tmp_path / "fork", log.origin, registry.log_key, now=now, genesis=bodies[:2])
    fork.append([*bodies[2 : at + 1], b'{"kind":"another"}'], signer=registry.log_key, now=now)
    proof = fork.proof(at)
    inner = row["bundle"]["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    inner |= {
        "treeSize": str(proof.size),
        "rootHash": packing.encoded(proof.root),
        "hashes": [packing.encoded(step) for step in proof.hashes],
        "checkpoint": {"envelope": proof.checkpoint},
    }
    data = b"\n".join([*lines[:at], canonical(row), *lines[at + 1 :]]) + b"\n"
    path = put(tmp_path, members | {"log/0/entries.jsonl": data}, fix=True, sign=False)
    assert any("forked or rewritten" in said for said in wrong(story, path))


def test_a_checkpoint_that_the_auditor_kept_is_compared(story, whole, tmp_path):
    log = story.world.registry.log
    assert wrong(story, whole, log.checkpoint_text) == []
    early = json.loads(taken(whole)["log/0/log.json"])["first"]["checkpoint"]
    assert wrong(story, whole, early) == []
    fork = Log.create(
        tmp_path / "fork", log.origin, story.world.registry.log_key, now=DAY, genesis=[b"one", b"two"]
    )
    assert any("forked or rewritten" in said for said in wrong(story, whole, fork.checkpoint_text))
    path, _ = story.pack("late.zip", since=DAY + timedelta(hours=4))
    found, _ = verify(Pack(path), story.roots, early)
    assert any("kept checkpoint" in said for said in found.missing)


def test_another_root_key_refuses_everything(story, whole):
    found = verify(Pack(whole), [generate().public_pem])[0]
    assert found.wrong == ["authority.jsonl: the version after 0 is not signed by a root key that you hold"]


def test_an_authority_by_somebody_else_is_named(story, whole, tmp_path):
    members = taken(whole)
    lines = members["authority.jsonl"].splitlines()
    path = put(tmp_path, members | {"authority.jsonl": b"\n".join(lines[1:]) + b"\n"}, fix=True, sign=False)
    assert wrong(story, path)
    path = put(tmp_path, members | {"authority.jsonl": b"\n".join(lines[:-1]) + b"\n"}, fix=True, sign=False)
    assert any("no version of the authority" in said for said in wrong(story, path))
    path = put(
        tmp_path, members | {"authority.jsonl": b"\n".join([lines[0], *lines]) + b"\n"}, fix=True, sign=False
    )
    assert any(said.startswith("authority.jsonl") for said in wrong(story, path))


# Logs that follow each other.


def test_a_log_that_follows_another(tmp_path):
    world = World(tmp_path)
    folder = world.ready()
    assert world.promote(folder).decision.allow
    assert world.admit(folder, target="prod/x").decision.allow
    world.hand.pass_(hours=1)
    rotation.rotate(world.registry, "log", world.secret("root"))
    world.hand.pass_(hours=1)
    assert world.admit(folder).decision.allow
    for name, since in (("all.zip", packing.EPOCH), ("late.zip", world.hand.now())):
        target = tmp_path / name
        made = make_pack(world.registry, target, Wanted(since=since))
        assert (made.wrong, made.missing) == ((), ())
        found, _ = verify(Pack(target), list(world.registry.pin.roots))
        assert (found.wrong, found.missing) == ([], [])
        assert [row["what"] for row in rows(target, "outages")] == ["log-frozen"]
        (run,) = rows(target, "running")
        assert run["decision"]
        members = taken(target)
        meta = json.loads(members["log/0/log.json"])
        for key in ("origin", "key", "checkpoint", "edge", "start"):
            changed = meta | {key: json.loads(members["log/1/log.json"])[key] if key != "start" else 1}
            if changed != meta:
                path = put(tmp_path, members | {"log/0/log.json": canonical(changed)}, fix=True, sign=False)
                assert verify(Pack(path), list(world.registry.pin.roots))[0].wrong, key
    world.registry.close()


# The script, on its own.


def alone(folder, *arguments):
    """Run the script where nothing but the standard library and `cryptography` can be found."""
    libraries = folder / "libraries"
    libraries.mkdir(exist_ok=True)
    for name in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        spec = find_spec(name)
        if spec is None:
            continue
        origin = Path(spec.submodule_search_locations[0] if spec.submodule_search_locations else spec.origin)
        if not (libraries / origin.name).exists():
            (libraries / origin.name).symlink_to(origin)
    (folder / "verify_pack.py").write_bytes(script())
    program = (
        "import sys, runpy, importlib.util as u; sys.path.insert(0, sys.argv[1]); sys.argv = sys.argv[2:]; "
        "assert u.find_spec('weighbridge') is None; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(libraries), str(folder / "verify_pack.py")]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_script_verifies_without_weighbridge(story, whole, tmp_path):
    root = tmp_path / "root.pem"
    root.write_text(story.roots[0])
    done = alone(tmp_path, whole, "--root", root, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert (answer["wrong"], answer["missing"]) == ([], [])
    assert answer["lists"]["running"] == 5
    path = put(tmp_path, taken(whole) | {"lists/running.jsonl": b""}, fix=True, sign=False)
    done = alone(tmp_path, path, "--root", root)
    assert done.returncode == 1
    assert "WRONG: lists/running.jsonl line 1" in done.stdout
    assert done.stdout.rstrip().endswith("NOT VERIFIED")


def test_the_script_in_the_pack_is_the_released_one(whole):
    data = taken(whole)["verify_pack.py"]
    assert data == script()
    assert b"import weighbridge" not in data
    assert b"from weighbridge" not in data


@pytest.mark.parametrize(
    "damage", ["nothing", "cut", "text", "empty zip", "no index", "index a list", "deep"]
)
def test_what_is_no_pack_is_refused_without_a_traceback(story, whole, tmp_path, damage, capsys):
    path, root = tmp_path / "x.zip", tmp_path / "root.pem"
    root.write_text(story.roots[0])
    members = taken(whole)
    if damage == "cut":
        path.write_bytes(whole.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("not a zip")
    elif damage == "empty zip":
        zipfile.ZipFile(path, "w").close()
    elif damage == "no index":
        path = put(tmp_path, {name: data for name, data in members.items() if name != "index.json"})
    elif damage == "index a list":
        path = put(tmp_path, members | {"index.json": b"[]"})
    elif damage == "deep":
        path = put(tmp_path, members | {"index.json": b"[" * 100_000})
    assert main([str(path), "--root", str(root)]) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_hostile_rows_are_named_and_never_crash(story, whole, tmp_path):
    members = taken(whole)
    for member in (
        "log/0/entries.jsonl",
        "authority.jsonl",
        "models/boms.jsonl",
        "lists/running.jsonl",
        "log/0/log.json",
        "index.sig.json",
    ):
        for hostile in (
            b"null\n",
            b"[]\n",
            b'{"index": "x"}\n',
            b"\xff\xfe\n",
            b"[" * 100_000 + b"\n",
            b'{"index": 1e999}\n',
            b"1" * 5000 + b"\n",
        ):
            path = put(
                tmp_path,
                members | {member: hostile},
                fix=member != "index.sig.json",
                sign=member == "index.sig.json",
            )
            assert wrong(story, path), (member, hostile[:20])


# Making one.


def test_equal_registries_give_equal_packs(story):
    first, _ = story.pack("one.zip", signed=False)
    second, _ = story.pack("two.zip", signed=False)
    assert first.read_bytes() == second.read_bytes()


def test_an_unsigned_pack_says_that_it_is(story):
    path, _ = story.pack("unsigned.zip", signed=False)
    found, _ = verify(Pack(path), story.roots)
    assert found.wrong == []
    assert "not signed" in found.told[0]


def test_nothing_that_is_there_is_overwritten(story, whole):
    before = whole.read_bytes()
    with pytest.raises(UsageError):
        make_pack(story.world.registry, whole, Wanted())
    assert whole.read_bytes() == before


def test_a_pack_that_cannot_be_finished_leaves_nothing(story, monkeypatch):
    target = story.world.folder / "never.zip"
    monkeypatch.setattr(packing, "MAX_PACK", 1000)
    with pytest.raises(packing.OutOfBudget):
        make_pack(story.world.registry, target, Wanted())
    assert not [path for path in target.parent.iterdir() if "never.zip" in path.name]


def test_a_period_in_the_future_is_refused(story):
    with pytest.raises(UsageError):
        story.pack("future.zip", since=DAY + timedelta(days=9))


def test_records_that_were_changed_are_not_packed(tmp_path):
    world = World(tmp_path)
    folder = world.ready()
    world.promote(folder)
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE model SET tier = 'intake'")
    with pytest.raises(VerificationFailed) as caught:
        make_pack(world.registry, tmp_path / "x.zip", Wanted())
    assert caught.value.check == "records.tally"
    world.registry.close()


def test_exchanged_evidence_is_told_and_not_packed(tmp_path):
    world = World(tmp_path)
    folder = world.ready()
    world.promote(folder)
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE evidence SET content = replace(content, 'data', 'date')")
    made = make_pack(world.registry, tmp_path / "x.zip", Wanted())
    assert len(made.missing) == 1
    assert "evidence" in made.missing[0]
    world.registry.close()


def test_no_secret_leaves_the_registry(tmp_path):
    """Planted in a claim, in a policy, in a document beside the records, and in the registry's own keys."""
    world = World(tmp_path)
    folder = world.ready()
    assert world.promote(folder).decision.allow
    assert world.admit(folder, target="prod/x").decision.allow
    body = {"rule": "r", "fingerprint": "0" * 32, "reason": f"see {TOKEN}", "expires": hour(99)}
    facts = world.registry.event_facts()
    kept = world.say(event("waiver", (world.manifest(folder).digest,), body, **facts), world.secret("owner"))
    policy = tmp_path / "policy"
    shutil.copytree(world.registry.layout.policy, policy)
    (policy / "policy.toml").write_text((policy / "policy.toml").read_text() + f"\n# {TOKEN}\n")
    use_policy(world.registry, policy, world.secret("owner"))
    target = tmp_path / "x.zip"
    made = make_pack(world.registry, target, Wanted(documents={"audit.json": {"note": TOKEN}}))
    members = taken(target)
    keys = [
        path.read_bytes()
        for path in (*world.registry.layout.keys.rglob("*"), *world.home.rglob("*.pem"))
        if path.is_file()
    ]
    secrets = [TOKEN.encode(), *(key for key in keys if b"PRIVATE" in key)]
    assert len(secrets) > 3
    for name, data in members.items():
        for secret in secrets:
            assert secret not in data, name
            assert secret.split(b"\n")[1:2] == [] or secret.split(b"\n")[1] not in data, name
    assert [said for said in made.missing if "Hugging Face token" in said]
    index = kept.entry.position
    assert f"entry {index} " in made.missing[0]
    found, _ = verify(Pack(target), list(world.registry.pin.roots))
    assert any(
        "policy/" in said for said in found.wrong
    )  # what was withheld cannot be verified, and is named
    world.registry.close()


def test_a_revoked_model_that_runs_again_is_listed(tmp_path):
    world = World(tmp_path)
    folder = world.ready()
    world.promote(folder)
    revoke(world.registry, world.manifest(folder).digest, reason="bad", signer=world.secret("owner"))
    world.hand.pass_(hours=1)
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, world.manifest(folder).digest, "prod/x"))
    target = tmp_path / "x.zip"
    make_pack(world.registry, target, Wanted())
    assert [row["state"] for row in rows(target, "running")] == ["revoked"]
    (row,) = rows(target, "responses")
    assert (row["seconds_to_quarantine"], row["still_running"]) == (0, 1)
    world.registry.close()


def test_an_advisory_its_reach_and_its_end(tmp_path):
    """By identity it reaches what descends from it at once; by another name, from the next decision on that finds it."""
    world = World(tmp_path)
    base, other = world.ready("base", seed=1.0), world.ready("other", seed=2.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    for folder in (base, tuned, other):
        assert world.promote(folder).decision.allow
        assert world.admit(folder, target=f"prod/{folder.name}").decision.allow
    world.hand.pass_(hours=1)
    owner, weights = world.secret("owner"), world.manifest(base).weights
    facts = {"severity": AdvisorySeverity.HIGH, "signer": owner}
    by_name = advisories.publish(
        world.registry, [weights], kind=AdvisoryKind.WEIGHTS, reason="poisoned", **facts
    )
    data = world.manifest(other).entry("model.safetensors").sha256
    alias = parse_target(f"file-sha256:{data.hex}")
    by_file = advisories.publish(world.registry, [alias], kind=AdvisoryKind.CODE, reason="runs code", **facts)
    assert not world.admit(other).decision.allow
    world.hand.pass_(hours=2)
    advisories.lift(world.registry, by_name.advisory.id, reason="a mistake", signer=owner)
    assert world.admit(tuned).decision.allow
    target = tmp_path / "x.zip"
    made = make_pack(world.registry, target, Wanted())
    assert (made.wrong, made.missing) == ((), ())
    found = {row["id"]: row for row in rows(target, "responses")}
    first, second = found[by_name.advisory.id], found[by_file.advisory.id]
    assert (first["kind"], first["about"], first["lifted"]) == ("advisory", "weights", hour(3))
    assert sorted(row["target"] for row in first["affected"]) == ["prod/base", "prod/tuned"]
    assert (second["about"], second["lifted"]) == ("code", None)
    assert [row["target"] for row in second["affected"]] == ["prod/other"]
    states = {row["target"]: row["state"] for row in rows(target, "running")}
    assert set(states.values()) == {"revoked"}  # while it ran, whatever came later
    found = verify(Pack(target), list(world.registry.pin.roots))[0]
    assert (found.wrong, found.missing) == ([], [])
    world.registry.close()


ODD = [
    {},
    {"project": "default", "actor": "x", "at": "2026-11-22T12:00:00Z", "body": None},
    {"project": "default", "actor": "x", "at": "2026-11-22T12:00:00Z", "body": {"digests": {}}},
    {"project": ["default"], "actor": 7, "at": "yesterday", "body": {"decision": "allow", "enforced": True}},
    {
        "project": "default",
        "actor": "x",
        "at": "",
        "body": {"digests": {"evidence": 7}, "decision": [], "checks": 1},
    },
]


def test_what_a_stranger_hands_in_as_a_record_spoils_no_pack(tmp_path):
    """Anybody may hand in claims; what only looks like a record is listed, and everything else still verifies."""
    from weighbridge.core.statement import Statement, Subject

    world = World(tmp_path)
    folder = world.ready()
    manifest = world.manifest(folder).digest
    about = (Subject(str(manifest), (("sha256", manifest.hex),)),)
    handed = 0
    for kind in ("decision", "deployment", "waiver", "revocation", "policy", "advisory", "lift", "name"):
        for odd in ODD:
            statement = Statement(about, f"https://weighbridge.dev/attestation/{kind}/v0.1", odd)
            world.say(statement, generate())
            handed += 1
    for kind in ("https://slsa.dev/verification_summary/v1", "https://cyclonedx.org/bom"):
        world.say(Statement(about, kind, {"x": [1]}), generate())
    assert world.promote(folder).decision.allow
    for name, since in (("all.zip", packing.EPOCH), ("late.zip", world.hand.now() + timedelta(seconds=0))):
        made = make_pack(world.registry, tmp_path / name, Wanted(since=since))
        assert (made.wrong, made.missing) == ((), ())
        found = verify(Pack(tmp_path / name), list(world.registry.pin.roots))[0]
        assert (found.wrong, found.missing) == ([], [])
        assert len(rows(tmp_path / name, "not-believed")) == handed + 1  # a bill of materials is a claim
    world.registry.close()


def test_what_the_gate_signs_oddly_is_listed(tmp_path):
    """A record by who may say it, with a body that no program of ours writes."""
    from weighbridge.core.statement import Statement, Subject

    world = World(tmp_path)
    folder = world.ready()
    manifest = world.manifest(folder).digest
    about = (Subject(str(manifest), (("sha256", manifest.hex),)),)
    for odd in ODD[2:3]:
        world.say(
            Statement(about, "https://weighbridge.dev/attestation/decision/v0.1", odd),
            world.registry.gate_key,
        )
    made = make_pack(world.registry, tmp_path / "x.zip", Wanted())
    assert made.wrong == ()
    assert [row["kind"] for row in rows(tmp_path / "x.zip", "not-believed")] == ["decision"]
    world.registry.close()


def test_a_strangers_bill_of_materials_takes_nobodys_place(tmp_path):
    from weighbridge.claims import predicates

    world = World(tmp_path)
    folder = world.ready()
    assert world.promote(folder).decision.allow
    assert world.admit(folder, target="prod/x").decision.allow
    with world.registry.records.read() as connection:
        bom = json.loads(connection.exec_driver_sql("SELECT bom FROM description").scalar())
    bom["metadata"]["component"]["name"] = "something else"
    world.say(predicates.bom(world.manifest(folder), bom), generate())
    made = make_pack(world.registry, tmp_path / "x.zip", Wanted())
    assert (made.wrong, made.missing) == ((), ())
    (row,) = [json.loads(line) for line in taken(tmp_path / "x.zip")["models/boms.jsonl"].splitlines()]
    assert row["bom"]["metadata"]["component"]["name"] == "encoder"
    world.registry.close()


def test_what_is_logged_while_a_pack_is_made_is_not_in_it(tmp_path, monkeypatch):
    world = World(tmp_path)
    folder = world.ready()
    assert world.promote(folder).decision.allow
    size = world.registry.log.size
    plain = packing._Making._authority

    def meanwhile(making, connection):
        world.registry.records.close()  # another process has connections of its own
        assert world.admit(folder, target="prod/x").decision.allow
        return plain(making, connection)

    monkeypatch.setattr(packing._Making, "_authority", meanwhile)
    made = make_pack(world.registry, tmp_path / "x.zip", Wanted())
    assert world.registry.log.size > size
    assert (made.wrong, made.missing) == ((), ())
    (log,) = json.loads(taken(tmp_path / "x.zip")["index.json"])["logs"]
    assert log["size"] == size
    assert rows(tmp_path / "x.zip", "running") == []
    found = verify(Pack(tmp_path / "x.zip"), list(world.registry.pin.roots))[0]
    assert (found.wrong, found.missing) == ([], [])
    world.registry.close()
