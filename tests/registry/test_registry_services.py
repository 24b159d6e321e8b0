"""A registry's own services: claims signed without a key, kept with their proof, and believed only as its authority says."""

from datetime import timedelta

import pytest

from weighbridge.claims import predicates
from weighbridge.core.errors import RegistryUnusable, UsageError, VerificationFailed
from weighbridge.core.identity import DEVELOPMENT_ISSUER
from weighbridge.core.tier import Role
from weighbridge.keys.files import generate
from weighbridge.registry import bundles, distribution, services
from weighbridge.registry.outbox import submit
from weighbridge.registry.rotation import rotate
from weighbridge.registry.service_keys import passphrase_path, root_folder
from weighbridge.registry.setup import init_registry
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.trusted_root import read_trusted_root
from weighbridge.trust.verify import verify_bundle
from world import World

ME = "me@example.com"


@pytest.fixture(params=["v1", "v2"])
def world(tmp_path, request):
    made = World(tmp_path)
    made.registry.close()
    made.config = type(made.config)(
        made.config.home,
        {
            **made.config.values,
            "registry": type(made.config.values["registry"])(str(tmp_path / "demo"), "test"),
        },
    )
    made.registry = init_registry(
        made.config,
        clock=made.hand,
        entropy=made.hand,
        root=tmp_path / "demo",
        demonstration=True,
        form=request.param,
    )
    yield made
    made.registry.close()


def statement(world, folder):
    snapshot = world.snapshot(folder)
    return predicates.package(
        snapshot.manifest,
        snapshot.chunks,
        builder="https://weighbridge.dev/builders/test",
        invocation="run-1",
    )


def signed(world, folder, who=ME):
    token = services.development_token(world.registry, who)
    return services.sign_here(world.registry, statement(world, folder), token)


def name_me(world, **evidence):
    authority = world.registry.authority.with_identity(
        "me",
        "",
        [Role.PACKAGE],
        keyless=ExpectedIdentity(subject=ME, issuer=DEVELOPMENT_ISSUER),
        valid_from=world.hand.now(),
        **evidence,
    )
    world.publish(authority)


def believed(world, bundle):
    return verify_bundle(
        bundle,
        authority=world.registry.authority,
        project="default",
        role=Role.PACKAGE,
        now=world.hand.now(),
    )


def test_a_claim_without_a_key_is_kept_with_its_own_proof(world):
    name_me(world)
    made = signed(world, world.model())
    with world.registry.writing():
        (kept,) = submit(world.registry, bundles.take_proven(made))
    assert kept == made
    world.hand.pass_(days=3)  # the certificate lived ten minutes; its proof stays
    found = bundles.about(world.registry, [world.manifest(world.folder / "encoder").digest])
    assert [one.digest for one in found] == [made.digest]
    proven = believed(world, found[0]).proven
    assert (proven.signer.name, proven.signer.subject, proven.signer.issuer) == ("me", ME, DEVELOPMENT_ISSUER)
    world.reopen(registry=str(world.folder / "demo"))
    assert services.check(world.registry) == []


@pytest.mark.parametrize(
    "who", ["other@example.com", "me@example.com.evil.example", "https://example.com/me"]
)
def test_somebody_else_is_a_stranger(world, who):
    name_me(world)
    with pytest.raises(VerificationFailed) as caught:
        believed(world, signed(world, world.model(), who))
    assert caught.value.check == "identity.known"
    assert who in caught.value.cause


def test_a_bundle_cannot_leave_out_what_the_authority_asks_for(world):
    from dataclasses import replace

    name_me(world)
    made = signed(world, world.model())
    assert believed(world, made)
    with pytest.raises(VerificationFailed) as caught:
        believed(world, replace(made, entries=()))
    assert caught.value.check == "evidence.logs"
    with pytest.raises(VerificationFailed) as caught:
        believed(world, replace(made, entries=(), timestamps=()))
    assert caught.value.check.startswith("evidence.")


def test_an_ended_signer_is_refused_from_then_on(world):
    name_me(world)
    before = signed(world, world.model())
    world.hand.pass_(minutes=1)
    world.publish(world.registry.authority.revoked("me", world.hand.now()))
    world.hand.pass_(minutes=1)
    assert believed(world, before)
    with pytest.raises(VerificationFailed) as caught:
        believed(world, signed(world, world.model("second")))
    assert caught.value.check == "identity.time"


def test_outside_of_a_demonstration_nobody_vouches_for_oneself(tmp_path):
    world = World(tmp_path)
    with pytest.raises(UsageError) as caught:
        services.development_token(world.registry, ME)
    assert caught.value.check == "identity.development"
    with pytest.raises(VerificationFailed) as refused:
        services.sign_here(world.registry, statement(world, world.model()), "a.b.c")
    assert refused.value.check.startswith("token.")
    world.registry.close()


def test_no_later_version_makes_a_demonstration_of_a_registry(tmp_path):
    from dataclasses import replace

    world = World(tmp_path)
    later = replace(world.registry.authority, version=2, demonstration=True)
    with pytest.raises(VerificationFailed) as caught:
        world.publish(later)
    assert caught.value.check == "authority.demonstration"
    world.registry.close()


def test_a_stolen_folder_signs_nothing(world):
    passphrase_path(world.home, world.registry.id).unlink()
    for use in (lambda: world.registry.gate_key, lambda: services.open_services(world.registry)):
        with pytest.raises(RegistryUnusable) as caught:
            use()
        assert caught.value.check == "keys.passphrase"
    assert not [
        path for path in world.registry.layout.keys.iterdir() if b"ENCRYPTED" not in path.read_bytes()
    ]


def test_offline_keys_are_elsewhere_and_private(world):
    names = {path.name for path in world.registry.layout.keys.iterdir()}
    assert not {"root.pem", "owner.pem", "ca-root.pem", "tsa-root.pem", "tuf-root.pem"} & names
    for path in root_folder(world.home, world.registry.id).glob("*-root.pem"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_key_the_authority_does_not_name_serves_nobody(world):
    path = world.registry.layout.keys / "ca.pem"
    path.unlink()
    generate("ecdsa-p384").save(path, passphrase_path(world.home, world.registry.id).read_text().strip())
    with pytest.raises(RegistryUnusable) as caught:
        services.open_services(world.registry)
    assert caught.value.check == "services.missing"


def test_a_damaged_certificate_log_shows(world):
    signed(world, world.model())
    folder = services.folder_of(world.registry.layout, "ct", world.registry.service_key("ct").key_id)
    tile = max(
        (path for path in (folder / "tile" / "entries").rglob("*") if path.is_file()),
        key=lambda p: p.stat().st_size,
    )
    data = tile.read_bytes()
    tile.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (problem,) = services.check(world.registry)
    assert problem.startswith("ct: ")


def test_what_is_about_to_end_is_said(world):
    world.hand.pass_(days=340)
    problems = services.check(world.registry)
    assert [problem.rpartition(" ")[2] for problem in problems] == ["ca", "tsa"]


def test_roots_for_other_clients_say_what_the_authority_says(world):
    read = read_trusted_root(distribution.trusted_root(world.registry))
    known = world.registry.authority.trusted
    assert [row.chain for row in read.authorities] == [row.chain for row in known.authorities]
    assert [row.pem for row in read.ctlogs] == [row.pem for row in known.ctlogs]
    assert b"http://127.0.0.1:8091" in distribution.client_config(world.registry, "http://127.0.0.1:8091")


def test_the_repository_begins_with_its_root_key_and_goes_on_without_it(world):
    url = "http://127.0.0.1:8091"
    with world.registry.writing():
        with pytest.raises(UsageError, match="root key"):
            distribution.publish(world.registry, url)
        first = distribution.publish(world.registry, url, world.secret("tuf-root"))
        world.hand.pass_(days=5)
        again = distribution.publish(world.registry, url)
    assert again.expires()["timestamp"] > world.hand.now() + timedelta(days=6)
    assert first.target("trusted_root.json") == distribution.trusted_root(world.registry)


def test_a_signing_log_keeps_its_form_when_its_key_is_exchanged(world):
    before = signed(world, world.model())
    name_me(world)
    world.hand.pass_(minutes=1)
    old = services.open_services(world.registry).log
    rotate(world.registry, "signing-log", world.secret("root"))
    new = services.open_services(world.registry).log
    assert (new.form, new.origin != old.origin) == (old.form, True)
    after = signed(world, world.folder / "encoder")
    assert after.entries[0].log_id != before.entries[0].log_id
    assert believed(world, after)


def test_a_bundle_without_certificate_is_handed_in_with_its_key(world):
    key = generate()
    from weighbridge.trust.seal import sign_statement

    envelope = sign_statement(statement(world, world.model()), key)
    with pytest.raises(VerificationFailed) as caught:
        bundles.take_proven(Bundle(envelope, key.key_id))
    assert caught.value.check == "bundle.material"
