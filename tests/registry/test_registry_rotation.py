"""Every key of a registry can be exchanged, at any instruction of it the process may die, and old and new bundles verify.

One house is made and then copied for each test: with a promoted model, claims by people with keys and by one whom the
registry's own certificates name, all of it two hours before anything is rotated.
"""

import itertools
import json
import shutil
from datetime import timedelta

import pytest

from weighbridge.claims import predicates
from weighbridge.config import read_config
from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    LoadRefused,
    Refused,
    RegistryUnusable,
    UsageError,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.tier import Role, Tier
from weighbridge.gate.promote import admit, promote
from weighbridge.keys.files import generate, load
from weighbridge.ledger.sequencer import Log
from weighbridge.loader.load import load as load_model
from weighbridge.registry import (
    bundles,
    distribution,
    fsck,
    models,
    next_keys,
    outbox,
    pins,
    rotation,
    services,
    tally,
)
from weighbridge.registry.pins import Pin, advance, read_pin, write_pin
from weighbridge.registry.service_keys import root_folder
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import open_registry
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.ctlog import CertificateLog, certificate_entries
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER
from weighbridge.trust.seal import sign_statement
from weighbridge.trust.verify import verify_bundle
from world import Hand, World

ME = "me@example.com"
NAMES = ("ca", "ct", "tsa", "signing-log", "log", "gate", "intake")


class Died(BaseException):
    """Stands for a killed process."""


class Copy:
    """A copy of the house, opened; `hand` is its clock."""

    def __init__(self, template, folder, at):
        self.folder = folder
        shutil.copytree(template, folder, symlinks=True)
        self.hand = Hand(at=at, drawn=10_000)
        environ = {"WEIGHBRIDGE_CONFIG_HOME": str(folder / "config"), "HOME": str(folder), "USER": "tester"}
        settings = {"registry": str(folder / "demo"), "lock_seconds": 1}
        self.config = read_config(environ, settings)
        self.registry = self.open()

    def open(self):
        return open_registry(self.config, clock=self.hand, entropy=self.hand)

    def reopen(self):
        self.registry.close()
        self.registry = self.open()
        return self.registry

    def secret(self, name):
        return load(root_folder(self.config.home, self.registry.id) / f"{name}.pem")

    def rotate(self, name, **options):
        above = self.secret(rotation.ABOVE[name]) if name in rotation.ABOVE else None
        return rotation.rotate(self.registry, name, self.secret("root"), above=above, **options)

    def keyless(self, number=1):
        """Sign a claim as ME with the services of this copy."""
        statement = claim(number)
        token = services.development_token(self.registry, ME)
        return services.sign_here(self.registry, statement, token)

    def said(self, number, key):
        """Have a claim by this key taken in; returns its bundle."""
        statement = claim(number)
        envelope = sign_statement(statement, key)
        with self.registry.writing():
            return outbox.submit(self.registry, bundles.take(envelope, key.public_pem))[-1]

    def believed(self, bundle, role):
        return verify_bundle(
            bundle, authority=self.registry.authority, project="default", role=role, now=self.hand.now()
        )

    def kept(self):
        with self.registry.records.read() as connection:
            rows = connection.execute(schema.bundle.select()).mappings().all()
        return {row["digest"]: Bundle.from_json(row["content"].encode()) for row in rows}


def claim(number):
    return predicates.evaluate(_weights(number), "PASSED", {"accuracy": 0.9}, invocation="run-1")


def _weights(number):
    return Digest("wbw1", f"{number:064x}")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Make the house once; returns (its folder, its people, what verifies in it, its clock)."""
    folder = tmp_path_factory.mktemp("house") / "house"
    world = World(folder)
    world.registry.close()
    shutil.rmtree(folder / "registry")
    environ = {**world.environ}
    world.config = read_config(environ, {"registry": str(folder / "demo"), "lock_seconds": 1})
    world.registry = init_registry(world.config, clock=world.hand, entropy=world.hand, demonstration=True)
    expected = ExpectedIdentity(subject=ME, issuer=DEVELOPMENT_ISSUER)
    now = world.hand.now()
    world.publish(
        world.registry.authority.with_identity("me", "", [Role.EVALUATE], keyless=expected, valid_from=now)
    )
    promoted, other = world.ready("one"), world.ready("two", seed=2.0)
    assert world.promote(promoted).decision.allow
    world.hand.pass_(minutes=1)
    statement = claim(0)
    token = services.development_token(world.registry, ME)
    with world.registry.writing():
        outbox.submit(
            world.registry, bundles.take_proven(services.sign_here(world.registry, statement, token))
        )
    world.registry.close()
    return folder, dict(world.people), world.manifest(other).digest, world.hand.at + timedelta(hours=2)


@pytest.fixture
def house(template, tmp_path):
    made = Copy(template[0], tmp_path / "copy", template[3])
    yield made
    made.registry.close()


@pytest.fixture
def thief(template, tmp_path):
    """Everything that lay in the registry's folder and its passphrase, in other hands."""
    made = Copy(template[0], tmp_path / "thief", template[3])
    yield made
    made.registry.close()


@pytest.fixture(scope="module")
def proven(template, tmp_path_factory):
    """Everything that verifies before any key is exchanged, as (digest, role)."""
    made = Copy(template[0], tmp_path_factory.mktemp("proven") / "copy", template[3])
    found = [
        (digest, role) for digest, bundle in made.kept().items() for role in Role if holds(made, bundle, role)
    ]
    made.registry.close()
    assert len(found) >= 12
    return found


def holds(house, bundle, role):
    try:
        house.believed(bundle, role)
    except VerificationFailed:
        return False
    return True


def ends(house, name):
    """Return until when the keys of this purpose count, None for the one in use."""
    authority = house.registry.authority
    if name in next_keys.IDENTITIES:
        return [row.valid_until for row in authority.identities if row.name.partition(".")[0] == name]
    rows = {
        "ca": authority.trusted.authorities,
        "tsa": authority.trusted.timestamps,
        "ct": authority.trusted.ctlogs,
        "signing-log": [row for row in authority.logs if ".signing - " in row.origin],
        "log": [row for row in authority.logs if ".signing - " not in row.origin],
    }[name]
    return [row.window.end for row in rows]


def former(house, name):
    """Return the ends of the keys that had this purpose before, in order; one is in use."""
    found = ends(house, name)
    assert found.count(None) == 1
    return sorted(end for end in found if end is not None)


def is_done(house, name):
    """Tell whether a rotation left nothing to finish, so that another one would exchange the key once more."""
    found = ends(house, name)
    return not next_keys.waiting(house.registry.layout.keys) and len(found) == 2 and found.count(None) == 1


def check_settled(house, name, proven):
    """One key is in use and its file is there; the records are whole; all that was proven is, and new things are."""
    registry = house.registry
    assert next_keys.waiting(registry.layout.keys) == ()
    assert not list(registry.layout.keys.glob("*making*"))
    assert next_keys.in_force(registry.authority, name, registry.service_key(name).public_pem)
    tally.check(registry)
    assert fsck.log(registry) == []
    assert services.check(registry) == []
    kept = house.kept()
    assert all(holds(house, kept[digest], role) for digest, role in proven)
    assert holds(house, house.keyless(), Role.EVALUATE)


@pytest.mark.parametrize("name", NAMES)
def test_old_and_new_verify_and_the_key_is_another(house, template, proven, name):
    before = house.registry.service_key(name).key_id
    done = house.rotate(name)
    house.reopen()
    after = house.registry.service_key(name).key_id
    assert (done.key, done.finished) == (after, False)
    assert after != before
    (end,) = former(house, name)
    assert end == house.hand.now() + (timedelta(minutes=10) if name == "ca" else timedelta(0))
    house.hand.pass_(hours=1)
    check_settled(house, name, proven)
    assert promote(house.registry, template[2]).decision.allow
    assert models.get(house.registry, template[2]).tier is Tier.TRUSTED


def test_all_of_them_one_after_the_other_and_again(house, template, proven):
    for name in (*NAMES, *reversed(NAMES)):
        house.hand.pass_(hours=1)
        house.rotate(name)
        house.said(house.hand.drawn, template[1]["evaluate-team"])
    house.reopen()
    assert len(house.registry.before) == 2
    for name in NAMES:
        assert len(former(house, name)) == 2
        check_settled(house, name, proven)


def steps():
    return [
        (rotation, "save_service_key"),
        (rotation, "put"),
        (outbox, "enqueue"),
        (outbox, "_log"),
        (outbox, "_finish"),
        (Log, "create"),
        (Log, "freeze"),
        (CertificateLog, "add_authority"),
        (tally, "close"),
        (pins, "write_pin"),
    ]


def dies(house, monkeypatch, name, at):
    """Rotate, and die before or after one of the steps; returns whether there was such a step."""
    number = itertools.count()

    def dying(step):
        def run(*arguments, **options):
            if next(number) == at:
                raise Died
            result = step(*arguments, **options)
            if next(number) == at:
                raise Died
            return result

        return run

    with monkeypatch.context() as patched:
        for where, what in steps():
            step = dying(getattr(where, what))
            patched.setattr(where, what, staticmethod(step) if what == "create" else step)
        try:
            house.rotate(name)
        except Died:
            return True
    return False


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", ["ca", "ct", "signing-log", "log", "gate"])
def test_a_death_at_any_step_is_finished_by_whoever_comes_next(
    template, tmp_path, monkeypatch, proven, name, every
):
    for at in itertools.count(0, every):
        house = Copy(template[0], tmp_path / str(at), template[3])
        died = dies(house, monkeypatch, name, at)
        house.hand.pass_(minutes=5)
        house.reopen()  # a reader comes first, and must believe what it finds
        tally.check(house.registry)
        kept = house.kept()
        assert all(holds(house, kept[digest], role) for digest, role in proven)
        if at % 3 == 2:  # somebody without the root key
            house.said(1, template[1]["evaluate-team"])
            house.reopen()
        if died and not is_done(house, name):
            house.rotate(name)
            house.reopen()
        check_settled(house, name, proven)
        assert len(former(house, name)) == 1, at
        house.registry.close()
        shutil.rmtree(house.folder)
        if not died:
            assert at > 12
            return


def test_services_open_while_a_rotation_is_cut_off(house, monkeypatch):
    for name in ("ct", "signing-log", "ca"):
        with monkeypatch.context() as patched:
            patched.setattr(rotation, "finish", lambda registry: (_ for _ in ()).throw(Died))
            with pytest.raises(Died):
                house.rotate(name)
        house.reopen()
        assert holds(house, house.keyless(), Role.EVALUATE)
        assert next_keys.waiting(house.registry.layout.keys) == ()


def test_a_new_authority_stands_in_the_log_of_certificates(house):
    house.rotate("ct")
    house.rotate("ca")
    chain = house.registry.authority.trusted.authorities[-1].chain
    key = house.registry.service_key("ct")
    log = Log.open(services.folder_of(house.registry.layout, "ct", key.key_id), key.public_pem)
    logged = [entry.certificate for entry in certificate_entries(log)]
    assert chain[0] in logged
    assert house.registry.authority.trusted.authorities[0].chain[1] == chain[1]


def test_the_key_of_what_clients_fetch(house, monkeypatch):
    pytest.importorskip("tuf")
    root, url = house.secret("tuf-root"), "https://trust.example.org"
    with house.registry.writing():
        distribution.publish(house.registry, url, root)
    before = house.registry.service_key("tuf").key_id
    with pytest.raises(Refused):
        rotation.rotate_distribution(house.registry, generate())
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "put", dying_at_the_end_of(rotation.put))
        with pytest.raises(Died):
            rotation.rotate_distribution(house.registry, root)
    house.reopen()
    after = house.registry.service_key("tuf").key_id
    assert after != before
    with house.registry.writing():  # renames it, and signs with it
        repository = distribution.publish(house.registry, url)
    assert next_keys.waiting(house.registry.layout.keys) == ()
    assert set(json.loads((repository.directory / "timestamp.json").read_bytes())["signatures"][0]) >= {
        "keyid"
    }
    done = rotation.rotate_distribution(house.registry, root)
    assert (done.finished, done.key != after) == (False, True)
    assert repository.publish(
        {"one": b"1"}, distribution._all_by(house.registry.service_key("tuf")), house.hand.now()
    )


def dying_at_the_end_of(put):
    def run(key, place):
        if "next" in place.name:
            return put(key, place)
        raise Died

    return run


# Stolen keys.


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("ca", "certificate.chain"),
        ("ct", "certificate.sct"),
        ("tsa", "time.timestamp"),
        ("signing-log", "log.window"),
    ],
)
def test_a_stolen_service_key_signs_nothing_that_counts_after_its_end(house, thief, name, check):
    house.rotate(name)
    assert holds(house, thief.keyless(), Role.EVALUATE)  # the same second
    for moved in (house, thief):
        moved.hand.pass_(minutes=11)
    stolen = thief.keyless(2)
    assert holds(thief, stolen, Role.EVALUATE)
    with pytest.raises(VerificationFailed) as refused:
        house.believed(stolen, Role.EVALUATE)
    assert refused.value.check == check


@pytest.mark.parametrize("name", ["ca", "ct", "tsa", "signing-log"])
def test_told_since_when_a_key_was_stolen_nothing_after_that_counts(house, thief, name):
    for moved in (house, thief):
        moved.hand.pass_(minutes=20)
    since = house.hand.now()
    fine = house.keyless(1)
    for moved in (house, thief):
        moved.hand.pass_(minutes=20)
    stolen = thief.keyless(2)
    house.hand.pass_(minutes=20)
    assert holds(house, stolen, Role.EVALUATE)
    house.rotate(name, since=since)
    assert not holds(house, stolen, Role.EVALUATE)
    assert holds(house, fine, Role.EVALUATE)
    assert former(house, name) == [since]


def test_a_stolen_gate_key_admits_nothing(house, thief, template):
    house.rotate("gate")
    for moved in (house, thief):
        moved.hand.pass_(minutes=1)
    assert promote(thief.registry, template[2]).decision.allow
    key = thief.registry.gate_key.public_pem
    drafts = [b for d, b in thief.kept().items() if d not in house.kept() and holds(thief, b, Role.ADMIT)]
    assert drafts
    with house.registry.writing():
        for stolen in drafts:
            outbox.submit(house.registry, bundles.take(stolen.envelope, key))
    assert models.get(house.registry, template[2]).tier is not Tier.TRUSTED
    for stolen in drafts:
        with pytest.raises(VerificationFailed) as refused:
            house.believed(house.kept()[str(stolen.digest)], Role.ADMIT)
        assert refused.value.check == "identity.time"


def test_a_stolen_log_key_logs_nothing_that_counts(house, thief, template):
    house.rotate("log")
    for moved in (house, thief):
        moved.hand.pass_(minutes=1)
    stolen = thief.said(7, template[1]["evaluate-team"])
    with pytest.raises(VerificationFailed) as refused:
        house.believed(stolen, Role.EVALUATE)
    assert refused.value.check == "log.window"


def test_claims_in_a_log_that_was_stolen_count_until_then(house, template):
    since = house.hand.now()
    fine = house.said(1, template[1]["evaluate-team"])
    house.hand.pass_(minutes=1)
    late = house.said(2, template[1]["evaluate-team"])
    house.hand.pass_(minutes=1)
    house.rotate("log", since=since)
    assert holds(house, fine, Role.EVALUATE)
    assert not holds(house, late, Role.EVALUATE)
    assert former(house, "log") == [since]


def test_what_is_learned_late_ends_the_keys_of_that_time_and_not_those_after(house):
    for name in ("gate", "tsa"):
        stolen = house.hand.now()
        house.hand.pass_(hours=1)
        house.rotate(name)
        house.hand.pass_(hours=1)
        now = house.hand.now()
        house.rotate(name, since=stolen + timedelta(minutes=30))
        assert former(house, name) == [stolen + timedelta(minutes=30), now]


def test_nobody_knows_of_a_theft_to_come(house):
    with pytest.raises(UsageError):
        house.rotate("gate", since=house.hand.now() + timedelta(seconds=1))
    with pytest.raises(UsageError):
        house.rotate("root")


# What may not happen.


def test_a_key_that_somebody_else_put_there_is_not_named(house):
    """Whoever can write the folder, and has no passphrase, knows the key that he puts there."""
    planted = generate()
    planted.save(next_keys.next_path(house.registry.layout.keys, "gate"))
    house.reopen()
    done = house.rotate("gate")
    assert done.key == house.registry.service_key("gate").key_id != planted.key_id
    assert house.registry.authority.identity_for(planted.key_id) is None


def test_a_key_that_was_in_use_before_is_not_named_again(house):
    old = house.registry.layout.keys / "gate.pem"
    kept = old.read_bytes()
    house.rotate("gate")
    again = next_keys.next_path(house.registry.layout.keys, "gate")
    again.write_bytes(kept)
    again.chmod(0o600)
    assert checked(lambda: house.rotate("gate")) == "authority.form"


def test_ending_a_former_key_again_does_not_prolong_it(house):
    house.rotate("gate")
    (end,) = former(house, "gate")
    (name,) = [row.name for row in house.registry.authority.identities if row.name.startswith("gate.")]
    house.hand.pass_(days=1)
    later = house.registry.authority.revoked(name, house.hand.now())
    assert next(row.valid_until for row in later.identities if row.name == name) == end


def test_loaders_with_the_old_pin_and_those_with_the_new_one(house, template, tmp_path):
    admitted = next(path for path in (house.folder / "demo" / "models").iterdir()) / "model"
    environ = {"WEIGHBRIDGE_CONFIG_HOME": str(house.config.home), "HOME": str(tmp_path)}
    old = {**environ, "WEIGHBRIDGE_CONFIG_HOME": str(tmp_path / "elsewhere")}
    shutil.copytree(template[0] / "config", tmp_path / "elsewhere")
    for name in ("log", "gate"):
        house.rotate(name)
    assert load_model(admitted, clock=house.hand, environ=old).manifest
    with pytest.raises(LoadRefused) as refused:  # its evidence holds the authority of then
        load_model(admitted, clock=house.hand, environ=environ)
    assert refused.value.check == "authority.rollback"
    digest = load_model(admitted, clock=house.hand, environ=old).manifest.digest
    assert admit(house.registry, digest).decision.allow
    for known in (old, environ):
        assert load_model(admitted, clock=house.hand, environ=known).manifest


def test_a_failure_before_the_authority_names_it_leaves_the_old_key(house):
    before = house.registry.service_key("gate").key_id
    with pytest.raises(VerificationFailed):
        rotation.rotate(house.registry, "gate", generate())
    house.reopen()
    assert house.registry.service_key("gate").key_id == before
    waiting = load_next(house, "gate")
    house.rotate("gate")
    assert house.registry.service_key("gate").key_id == waiting


def load_next(house, name):
    return rotation._load_next(house.registry, name).key_id


@pytest.mark.parametrize("name", ["ca", "tsa"])
def test_only_the_key_above_certifies(house, name):
    for above in (None, generate("ecdsa-p384")):
        with pytest.raises(UsageError):
            rotation.rotate(house.registry, name, house.secret("root"), above=above)
    assert former(house, name) == []


def test_the_new_key_is_encrypted_and_its_owners_alone(house):
    house.rotate("log")
    path = house.registry.layout.keys / "log.pem"
    assert b"ENCRYPTED" in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lost_key_is_replaced_where_nothing_of_the_old_one_is_needed(house, proven):
    for name in ("gate", "ct", "ca"):
        (house.registry.layout.keys / f"{name}.pem").unlink()
        house.reopen()
        with pytest.raises(RegistryUnusable):
            house.registry.service_key(name)
        house.rotate(name)
        check_settled(house, name, proven)


# The log of records.


def checked(action):
    with pytest.raises(WeighbridgeError) as refused:
        action()
    return refused.value.check


def test_the_two_logs_name_each_other(house, template):
    old = house.registry.log
    house.said(1, template[1]["evaluate-team"])
    house.rotate("log")
    (before,) = house.registry.before
    assert before.origin == old.origin
    assert before.head.continues == f"{house.registry.log.origin} {house.registry.log.log_id.hex}"
    first = json.loads(house.registry.log.entry(0).body)
    assert (first["origin"], first["size"]) == (before.origin, before.size)


def test_whoever_pinned_the_old_log_follows_to_the_new_one(house, template):
    old = read_pin(house.config.home, house.registry.id)
    house.said(1, template[1]["evaluate-team"])
    for _ in range(2):
        house.hand.pass_(minutes=1)
        house.rotate("log")
    write_pin(house.config.home, old)
    house.reopen()
    assert read_pin(house.config.home, house.registry.id).checkpoint == house.registry.log.checkpoint_text
    assert house.registry.log.checkpoint_text.startswith(house.registry.log.origin)


def test_processes_that_are_open_meanwhile_go_on_with_the_new_log(house, template):
    reader, writer = house.open(), house.open()
    house.rotate("log")
    tally.check(reader)
    assert reader.log.origin == house.registry.log.origin
    house.registry.close()
    house.registry = writer
    house.said(1, template[1]["evaluate-team"])
    assert writer.log.origin == reader.log.origin
    tally.check(reader)
    reader.close()


def test_processes_that_are_open_meanwhile_sign_with_the_new_key(house, template):
    writer = house.open()
    assert writer.gate_key
    house.rotate("gate")
    house.registry.close()
    house.registry = writer
    house.hand.pass_(minutes=1)
    assert promote(house.registry, template[2]).decision.allow
    assert models.get(house.registry, template[2]).tier is Tier.TRUSTED


def test_a_registry_without_its_newest_log_is_refused(house):
    house.rotate("log")
    shutil.rmtree(house.registry.layout.services / "log")
    assert checked(house.open) == "log.consistency"
    pin = read_pin(house.config.home, house.registry.id)
    write_pin(house.config.home, Pin(pin.registry, pin.roots, pin.authority_version, ""))
    found = house.open()
    assert checked(lambda: tally.check(found)) == "records.tally"
    found.close()


def test_a_log_that_does_not_follow_is_refused(house):
    house.rotate("log")
    log, key = house.registry.log, house.registry.log_key
    folder = house.registry.layout.services / "log" / key.key_id.hex[:16]
    shutil.rmtree(folder)
    Log.create(folder, log.origin, key, now=house.hand.now(), genesis=[b"{}", b"{}"])
    assert checked(house.open) == "log.follows"


def test_a_log_that_the_authority_does_not_name_is_not_followed(house, thief):
    """A thief of the log's key alone freezes it for a log of his own."""
    thief.registry.log.freeze(
        signer=thief.registry.log_key,
        now=thief.hand.now(),
        successor=rotation.Successor("weighbridge.thief - 7", thief.registry.log.log_id),
    )
    assert checked(thief.open) == "log.known"


def test_the_registry_as_it_was_before_is_refused(house, template):
    house.rotate("log")
    house.registry.close()
    shutil.rmtree(house.folder / "demo")
    shutil.copytree(template[0] / "demo", house.folder / "demo", symlinks=True)
    assert checked(house.open) == "authority.rollback"
    house.registry = Copy(template[0], house.folder / "again", template[3]).registry


def test_a_log_that_was_frozen_stays_frozen(house):
    unfrozen = (house.registry.layout.log / "checkpoint").read_bytes()
    log = house.registry.log
    note = log.freeze(signer=house.registry.log_key, now=house.hand.now())
    pin = read_pin(house.config.home, house.registry.id)
    write_pin(house.config.home, advance(pin, authority_version=pin.authority_version, checkpoint=note))
    assert read_pin(house.config.home, house.registry.id).checkpoint == note
    (house.registry.layout.log / "checkpoint").write_bytes(unfrozen)
    assert checked(house.open) == "log.consistency"


def test_the_tally_of_the_old_log_counts_only_while_the_new_one_is_empty(house, template, monkeypatch):
    def tally_row():
        with house.registry.records.read() as connection:
            return connection.exec_driver_sql("SELECT value FROM setting WHERE key = 'tally'").scalar()

    seen, kept = [], tally.keeping

    def keeping(registry):
        seen.append(tally_row())
        return kept(registry)

    monkeypatch.setattr(tally, "keeping", keeping)
    house.rotate("log")
    monkeypatch.undo()
    assert len({*seen, tally_row()}) >= 4  # the old log's last one and the new log's first among them
    house.said(1, template[1]["evaluate-team"])
    for row in seen:
        with house.registry.records.write() as connection:
            connection.exec_driver_sql("UPDATE setting SET value = ? WHERE key = 'tally'", (row,))
        assert checked(lambda: tally.check(house.registry)) == "records.tally"


def test_a_pin_of_a_log_that_followed_is_not_taken_back(house):
    old = house.registry.log.checkpoint_text
    house.rotate("log")
    pin = read_pin(house.config.home, house.registry.id)
    assert advance(pin, authority_version=pin.authority_version, checkpoint=old) == pin
    back = Pin(pin.registry, pin.roots, 1, old)
    names = [log.origin for log in house.registry.before]
    moved = advance(back, authority_version=1, checkpoint=pin.checkpoint, before=names)
    assert moved.checkpoint == pin.checkpoint


def test_a_claim_that_no_log_has_shows(house):
    house.rotate("log")
    with house.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE bundle SET log_index = log_index + 1000 WHERE stage = 'evaluate'")
    problems = fsck.log(house.registry)
    assert any("is in no log" in problem for problem in problems)
    assert any("is kept nowhere" in problem for problem in problems)


def test_claims_come_in_the_order_of_the_logs(house, template):
    key = template[1]["evaluate-team"]
    first = house.said(1, key)
    house.rotate("log")
    second = house.said(1, template[1]["data-team"])
    assert second.entry.index < first.entry.index
    assert [row.digest for row in bundles.about(house.registry, [_weights(1)])] == [
        first.digest,
        second.digest,
    ]


def test_a_key_to_follow_that_was_lost_is_said(house, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(rotation, "_begin_log", lambda *_: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            house.rotate("log")
    next_keys.next_path(house.registry.layout.keys, "log").unlink()
    house.reopen()
    assert checked(lambda: house.rotate("log")) == "log.frozen"
