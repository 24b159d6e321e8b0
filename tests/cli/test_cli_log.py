"""The `log` verbs on a whole registry: witnesses over HTTP, copies, other people's logs, and the monitor."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from weighbridge.core.canonical import canonical
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Assurance, Role
from weighbridge.keys.files import generate, load
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.witness import MAX_REQUEST, open_witness, witness_response
from weighbridge.ledger.witnessing import Asked
from weighbridge.registry import authorities, bundles, witnesses
from weighbridge.registry.outbox import sign
from weighbridge.trust.bundle import log_body
from weighbridge.trust.demand import Demand
from weighbridge.trust.roots import Roots, Witness
from weighbridge.trust.verify import verify_bundle

NAME = "witness.test/w1"


@pytest.fixture
def witness(world, call):
    """A witness made on the command line, served on loopback, named by the authority; yields its address."""
    key = world.folder / "witness.pem"
    assert call("key", "new", key, "--algorithm", "ed25519")[0] == 0
    folder = world.folder / "witness"
    code, out, err = call("log", "witness", "new", folder, "--name", NAME, "--key", key)
    assert code == 0, err
    assert out.startswith(f"{NAME}+")
    log_key = world.folder / "log.pub.pem"
    log_key.write_text(world.registry.log.public_pem)
    origin = world.registry.log.origin
    assert call("log", "witness", "trust", folder, "--key", log_key, "--origin", origin)[0] == 0
    signer = load(key)
    served = open_witness(folder, [signer], clock=world.hand, home=world.home)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/add-checkpoint"
            length = min(int(self.headers["Content-Length"]), MAX_REQUEST + 1)
            status, headers, data = witness_response(self.rfile.read(length), served)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    known = Witness(NAME, Cosigner(NAME, signer).key, "ed25519")
    _name(world, known)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _name(world, *known):
    """Have the authority name witnesses, as its root key would."""
    root = load(world.home / "roots" / world.registry.id / "root.pem")
    changed = world.registry.authority.with_trusted(
        replace(world.registry.authority.trusted, witnesses=known)
    )
    with world.registry.writing():
        authorities.publish(world.registry, changed, root)


def data(out, plural):
    return json.loads(out)[plural]


def test_a_log_that_nobody_witnessed_says_so(call):
    (item,) = data(call("log", "show", "--format", "json")[1], "checkpoints")
    assert (item["assurance"], item["witnessed"]) == ("single-operator", None)
    code, _, err = call("log", "cosign")
    assert code == 2
    assert "no witness is known" in err


def test_cosign_makes_the_log_witnessed(world, call, witness, monkeypatch):
    monkeypatch.setattr("weighbridge.registry.wiring.SystemClock.now", lambda _: world.hand.now())
    code, out, err = call("log", "cosign", "--ask", f"{NAME}={witness}", "--format", "json")
    assert code == 0, err
    (row,) = data(out, "cosignatures")
    assert (row["witness"], row["problem"], row["alarm"]) == (NAME, "", False)
    (item,) = data(call("log", "show", "--format", "json")[1], "checkpoints")
    assert item["assurance"] == "witnessed"
    assert item["witnessed"]["size"] == item["size"]
    code, out, _ = call("log", "witness", "show", world.folder / "witness")
    assert code == 0
    assert f"{item['origin']}: {item['size']} entries, cosigned 2026-" in out


def test_receipts_say_witnessed_only_when_they_are(world, witness):
    registry = world.registry
    alone = registry.log.proof(0).checkpoint
    entry = replace_entry(registry, alone)
    assert witnesses.assurance(registry.log, registry.authority, entry).value == "single-operator"
    found = witnesses.cosign(registry, setting=f"{NAME}={witness}")
    found.check()
    entry = replace_entry(registry, registry.log.proof(0).checkpoint)
    assert witnesses.assurance(registry.log, registry.authority, entry).value == "witnessed"
    nobody = replace(registry.authority, trusted=Roots())
    assert witnesses.assurance(registry.log, nobody, entry).value == "single-operator"


def replace_entry(registry, checkpoint):
    from weighbridge.core.digest import Digest
    from weighbridge.trust.bundle import LogProof

    return LogProof(Digest.of(b""), 0, 0, b"", b"", 1, b"", (), checkpoint)


def test_a_decision_that_witnesses_saw_says_so(world, witness):
    folder = world.ready()
    assert world.promote(folder).receipt["assurance"] == "single-operator"
    registry = world.reopen(witnesses=f"{NAME}={witness}")
    receipt = world.promote(folder).receipt
    assert receipt["assurance"] == "witnessed"
    assert NAME in receipt["proof"]["inclusionProof"]["checkpoint"]["envelope"]
    world.reopen(witnesses=f"{NAME}=http://127.0.0.1:9")
    world.hand.pass_(minutes=1)
    assert world.promote(folder).receipt["assurance"] == "single-operator"
    assert registry.log.cosigned_text


def test_a_bundle_gets_the_proof_that_came_later(world, witness):
    folder = world.ready()
    (bundle,) = [
        row for row in bundles.about(world.registry, [world.manifest(folder).digest]) if row.entry.index
    ][:1]
    assert witnesses.witnessed(bundle, world.registry.log) == bundle
    witnesses.cosign(world.registry, setting=f"{NAME}={witness}").check()
    later = witnesses.witnessed(bundle, world.registry.log)
    assert (later.digest, later.entry.index) == (bundle.digest, bundle.entry.index)
    demanding = world.registry.authority
    demanding = replace(
        demanding,
        identities=tuple(replace(one, evidence=Demand(witnesses=1)) for one in demanding.identities),
    )

    def believed(bundle):
        now, project = world.hand.now(), world.registry.project
        return verify_bundle(bundle, authority=demanding, project=project, role=Role.PACKAGE, now=now)

    with pytest.raises(VerificationFailed) as error:
        believed(bundle)
    assert error.value.check == "evidence.witnesses"
    assert believed(later).proven.assurance is Assurance.WITNESSED


def test_a_witness_that_contradicts_the_log_stops_the_gate(world, witness, monkeypatch):
    folder = world.ready()
    lie = Asked(NAME, problem="it saw 99 entries", alarm=True)
    monkeypatch.setattr("weighbridge.ledger.witnessing._all", lambda *_: [lie])
    world.reopen(witnesses=f"{NAME}={witness}")
    with pytest.raises(VerificationFailed) as error:
        world.promote(folder)
    assert error.value.check == "log.witness-alarm"
    assert (
        world.kept(folder).tier.value == "intake"
    )  # the gate stops, and what was signed before is kept whole
    world.reopen(witnesses="")
    assert world.promote(folder).decision.allow
    assert world.kept(folder).tier.value == "trusted"


def test_a_witness_that_is_away_holds_up_nothing_and_is_told(call, witness):
    code, out, err = call("log", "cosign", "--ask", f"{NAME}=http://127.0.0.1:9")
    assert code == 3
    assert "gave no usable answer" in out
    assert "0 of 1 witnesses cosigned" in err


@pytest.mark.parametrize("word", ["x", "=http://a", f"{NAME}=", f"{NAME}=ftp://a", "stranger=http://a"])
def test_addresses_that_are_none(call, witness, word):
    code, _, err = call("log", "cosign", "--ask", word)
    assert code == 2
    assert "is no witness" in err


def test_export_is_a_copy_that_verifies_and_a_changed_one_does_not(world, call):
    copy = world.folder / "copy"
    assert call("log", "export", copy)[0] == 0
    key = copy / "log.pub.pem"
    note = world.folder / "kept"
    note.write_text(world.registry.log.checkpoint_text)
    code, out, err = call("log", "verify", copy, "--key", key, "--since", note)
    assert code == 0, err
    assert f"all {world.registry.log.size} entries are what its checkpoint says" in out
    (tile,) = (copy / "tile" / "entries").glob("000.p/*")
    tile.write_bytes(tile.read_bytes().replace(b"weighbridge.genesis", b"weighbridge.genesiS"))
    code, _, err = call("log", "verify", copy, "--key", key)
    assert code == 1
    assert "the log's entries are not the ones that it signed" in err


def test_verify_wants_the_right_key_and_place(world, call):
    key = world.folder / "other.pem"
    call("key", "new", key)
    log = world.registry.layout.log
    assert call("log", "verify", log, "--key", world.folder / "other.pub.pem")[0] == 1
    assert call("log", "verify", log, "--key", "nonsense")[0] == 2
    assert call("log", "verify", log, "--key", "a+00000000+AAAA")[0] == 2
    assert call("log", "verify", world.folder / "nowhere", "--key", world.folder / "other.pub.pem")[0] == 2


def test_a_verifier_key_names_log_and_key(world, call):
    from weighbridge.ledger.checkpoint import verifier_key

    signer = generate("ed25519")
    plain = world.folder / "plain"
    Log.create(plain, "log.example.com", signer, now=world.hand.now(), genesis=[b"1", b"2"], form="v2")
    code, out, err = call("log", "verify", plain, "--key", verifier_key("log.example.com", signer.public_pem))
    assert code == 0, err
    assert "log.example.com: all 2 entries" in out
    other = verifier_key("log.example.com", generate("ed25519").public_pem)
    assert call("log", "verify", plain, "--key", other)[0] == 1


# The monitor on a registry


def watch(call, *options):
    code, out, err = call("log", "watch", "--once", "--format", "json", *options)
    assert code in (0, 1), err
    steps = data(out, "steps")
    alerts = [alert for step in steps for alert in step["alerts"]]
    assert bool(alerts) == (code == 1)
    return steps, alerts


def test_a_registry_announces_all_it_logs(world, call):
    world.promote(world.ready())
    steps, alerts = watch(call)
    assert alerts == []
    assert all(step["first"] and step["end"] == step["size"] for step in steps)
    steps, alerts = watch(call)
    assert [(step["first"], step["start"] == step["end"]) for step in steps] == [(False, True)] * len(steps)


def test_an_entry_slipped_into_the_log_is_told(world, call):
    """Somebody has the log's key and the gate's: a decision that no registry knows of."""
    from weighbridge.core.digest import Digest
    from weighbridge.core.statement import Statement, subject_of

    watch(call)
    gate = world.registry.gate_key
    draft = sign(Statement((subject_of(Digest("wb1", "ab" * 32)),), "https://weighbridge.dev/x/v1", {}), gate)
    body = log_body(draft.envelope, gate.public_pem)
    world.registry.log.append(
        [body, canonical({"hidden": "message"})], signer=world.registry.log_key, now=world.hand.now()
    )
    _, alerts = watch(call)
    assert [alert["kind"] for alert in alerts] == ["entry.unannounced", "entry.unreadable"]
    assert watch(call)[1] == []


def test_watching_wants_a_key_and_somebody_to_watch(world, call):
    log = world.registry.layout.log
    key = world.folder / "k.pub.pem"
    key.write_text(world.registry.log.public_pem)
    assert call("log", "watch", log)[0] == 2
    assert call("log", "watch", log, "--key", key)[0] == 2
    assert call("log", "watch", log, "--key", key, "--everything", "--once", "--every", "5")[0] == 2
    code, out, err = call("log", "watch", log, "--key", key, "--everything")
    assert code == 1, err
    assert "alert[entry.unannounced]: entry 1:" in out
    code, out, _ = call("log", "watch", log, "--key", key, "--everything")
    assert (code, "nothing new" in out) == (0, True)


def test_a_file_announces(world, call):
    log = world.registry.layout.log
    key = world.folder / "k.pub.pem"
    key.write_text(world.registry.log.public_pem)
    code, out, _ = call(
        "log",
        "watch",
        log,
        "--key",
        key,
        "--everything",
        "--format",
        "json",
        "--output",
        world.folder / "seen",
    )
    assert (code, out) == (1, "")
    seen = json.loads((world.folder / "seen").read_text())
    digests = [alert["details"]["content"] for step in seen["steps"] for alert in step["alerts"]]
    listed = world.folder / "announced"
    listed.write_text("# what we signed\n\n" + "\n".join(digests) + "\n")
    for path in (world.home / "monitor").glob("*.json"):
        path.unlink()
    code, _, err = call("log", "watch", log, "--key", key, "--everything", "--announced", listed)
    assert code == 0, err
    listed.write_text("sha256:short\n")
    assert call("log", "watch", log, "--key", key, "--everything", "--announced", listed)[0] == 2
