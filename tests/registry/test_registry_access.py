"""Who comes in over HTTP: tokens that are granted and ended by signed records, issuers' tokens, rights by project."""

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, OutOfBudget, Refused, UsageError, VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.gate.distrusting import distrust_signer
from weighbridge.keys.files import generate
from weighbridge.registry import access, intake, project_settings, quotas, tally, tokens
from weighbridge.registry.access import Principal, Right
from weighbridge.registry.outbox import submit
from weighbridge.trust.development import DevelopmentIssuer
from weighbridge.trust.expect import ExpectedIdentity
from world_house import Hand, World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def granted(world, *rights, holder="ci", days=3, project=None, signer=None):
    return tokens.grant(
        world.registry,
        holder,
        rights or (Right.READ,),
        expires=world.hand.now() + timedelta(days=days),
        reason="the nightly build",
        signer=signer or world.secret("owner"),
        project=project,
    )


def change(world, key, value, **options):
    world.hand.pass_(seconds=1)
    return project_settings.change(
        world.registry, key, value, reason="decided", signer=world.secret("owner"), **options
    )


def refused(world, header):
    with pytest.raises(Refused) as caught:
        access.identify(world.registry, header)
    assert caught.value.remedy
    return caught.value.check


def edit(world, statement, *values):
    with world.registry.records.write() as connection:
        assert connection.exec_driver_sql(statement, values).rowcount


# Tokens.


def test_a_token_opens_what_it_was_granted_for(world):
    token, secret = granted(world, Right.SUBMIT)
    principal = access.identify(world.registry, f"Bearer {secret}")
    assert principal == Principal("ci", {"default": frozenset({Right.SUBMIT})}, f"token {token.id}")
    for right, project in product(Right, ("default", "other")):
        may = project == "default" and right in (Right.READ, Right.SUBMIT)
        assert access.may(world.registry, principal, right, project) is may
        if may:
            access.require(world.registry, principal, right, project)
            continue
        with pytest.raises(Refused) as caught:
            access.require(world.registry, principal, right, project)
        assert caught.value.check == "access.denied"
        assert "owner" in caught.value.remedy


def test_the_secret_is_kept_nowhere(world):
    _, secret = granted(world)
    world.registry.close()
    rest = secret.rpartition("_")[2].encode()
    for path in world.folder.rglob("*"):
        if path.is_file():
            assert rest not in path.read_bytes(), path
    world.reopen()


def test_an_ended_token_opens_nothing_and_is_not_granted_again(world):
    token, secret = granted(world)
    world.hand.pass_(seconds=1)
    assert tokens.end(world.registry, token.id[:6], reason="lost", signer=world.secret("owner")).ended_at
    assert refused(world, f"Bearer {secret}") == "access.token"
    with pytest.raises(UsageError):
        tokens.end(world.registry, token.id, reason="again", signer=world.secret("owner"))


def test_a_token_that_was_ended_stays_ended_when_its_grant_is_signed_anew(world):
    token, secret = granted(world)
    world.hand.pass_(seconds=1)
    tokens.end(world.registry, token.id, reason="lost", signer=world.secret("owner"))
    from weighbridge.claims.records import event
    from weighbridge.registry.outbox import sign

    body = {"id": token.id, "state": "granted", "digest": str(Digest.of(secret.encode())), "holder": "ci",
            "rights": ["admin"], "expires": "2026-12-01T00:00:00Z", "reason": "again"}  # fmt: skip
    statement = event("token", (), body, **world.registry.event_facts())
    with world.registry.writing():
        submit(world.registry, sign(statement, world.secret("owner")))
    assert refused(world, f"Bearer {secret}") == "access.token"


def test_a_token_ends_by_itself(world):
    _, secret = granted(world, days=1)
    world.hand.pass_(days=1, seconds=-1)
    access.identify(world.registry, f"Bearer {secret}")
    world.hand.pass_(seconds=1)
    assert refused(world, f"Bearer {secret}") == "access.token"


def test_a_token_that_a_stolen_key_granted_opens_nothing_once_its_signer_is_distrusted(world):
    thief = world.person("ops", "policy")
    world.hand.pass_(hours=1)
    _, good = granted(world)
    _, bad = granted(world, signer=thief, holder="thief")
    for secret in (good, bad):
        access.identify(world.registry, f"Bearer {secret}")
    world.hand.pass_(hours=1)
    since = world.hand.now() - timedelta(hours=2)
    distrust_signer(world.registry, "ops", start=since, reason="stolen", signer=world.secret("owner"))
    access.identify(world.registry, f"Bearer {good}")
    assert refused(world, f"Bearer {bad}") == "access.token"


def test_a_holder_or_project_that_no_row_can_hold_is_kept_out_of_the_table(world):
    from weighbridge.claims.records import event
    from weighbridge.registry.outbox import sign

    for number, (holder, project) in enumerate(
        [("a\x00b", "default"), ("x" * 200, "default"), ("ci", "p" * 65)]
    ):
        body = {"id": f"{number:016x}", "state": "granted", "digest": str(Digest.of(b"%d" % number)), "holder": holder,
                "rights": ["admin"], "expires": "2026-12-01T00:00:00Z", "reason": "odd"}  # fmt: skip
        statement = event("token", (), body, project=project, actor="me", at=world.hand.now())
        with world.registry.writing():
            submit(world.registry, sign(statement, world.secret("owner")))
    with world.registry.records.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM token").scalar() == 0


@pytest.mark.parametrize("days", [0, -1, 367])
def test_no_token_is_without_an_end_that_can_be_lived_to_see(world, days):
    with pytest.raises(UsageError):
        granted(world, days=days)
    assert tokens.every(world.registry) == []


def test_only_who_holds_the_role_policy_grants_and_ends(world):
    token, _ = granted(world)
    for key in (generate(), world.person("trainer", "train")):
        with pytest.raises(Refused) as caught:
            granted(world, signer=key)
        assert caught.value.check == "identity.role"
        with pytest.raises(Refused):
            tokens.end(world.registry, token.id, reason="mine", signer=key)


def test_a_grant_by_a_stranger_that_is_logged_all_the_same_opens_nothing(world):
    from weighbridge.claims.records import event
    from weighbridge.registry.outbox import sign

    secret = f"wb_{'ab' * 8}_{'A' * 52}"
    body = {"id": "ab" * 8, "state": "granted", "digest": str(Digest.of(secret.encode())), "holder": "mallory",
            "rights": ["admin"], "expires": "2026-12-01T00:00:00Z", "reason": "why not"}  # fmt: skip
    for key, project in (
        (generate(), "default"),
        (world.person("hers", "policy", project="hers"), "default"),
    ):
        statement = event("token", (), body, project=project, actor="m", at=world.hand.now())
        with world.registry.writing():
            submit(world.registry, sign(statement, key))
    assert refused(world, f"Bearer {secret}") == "access.token"
    assert tokens.every(world.registry) == []


def test_a_token_for_every_project_gives_way_to_none(world):
    _, secret = granted(world, Right.ATTEST, project="*")
    principal = access.identify(world.registry, f"Bearer {secret}")
    assert principal.may(Right.ATTEST, "default")
    assert principal.may(Right.READ, "anything")
    assert not principal.may(Right.APPROVE, "anything")


@pytest.mark.parametrize(
    "change_",
    ["rights = '[\"admin\"]'", "expires = '2027-01-01T00:00:00Z'", "holder = 'boss'", "project = '*'"],
)
def test_a_row_that_somebody_changed_is_refused_also_right_after_it_was_used(world, change_):
    _, secret = granted(world)
    access.identify(world.registry, f"Bearer {secret}")
    edit(world, f"UPDATE token SET {change_}")
    with pytest.raises(VerificationFailed) as caught:
        access.identify(world.registry, f"Bearer {secret}")
    assert caught.value.check == "records.tally"


def test_a_row_that_somebody_brought_back_is_refused(world):
    token, secret = granted(world)
    access.identify(world.registry, f"Bearer {secret}")
    world.hand.pass_(seconds=1)
    tokens.end(world.registry, token.id, reason="lost", signer=world.secret("owner"))
    edit(world, "UPDATE token SET ended_at = NULL")
    with pytest.raises(VerificationFailed):
        access.identify(world.registry, f"Bearer {secret}")
    with pytest.raises(VerificationFailed):
        tally.check(world.registry)


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Basic abc", "wb_", "Bearer wb_", "Bearer a.b.c", "Bearer " + "x" * 30_000, "Bearer hf_abcdef",
     "Bearer wb_00000000000000ff_" + "A" * 52],
)  # fmt: skip
def test_what_is_no_token_opens_nothing(world, header):
    granted(world)
    assert refused(world, header) == "access.token"


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(min_value=0, max_value=71), sign=st.sampled_from("ABz0-_ ."))
def test_a_secret_with_another_character_opens_nothing(shared, place, sign):
    world, secret = shared
    wrong = secret[:place] + sign + secret[place + 1 :]
    if wrong == secret:
        return
    with pytest.raises(Refused):
        access.identify(world.registry, f"Bearer {wrong}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("house"))
    yield made, granted(made)[1]
    made.registry.close()


# Issuers' tokens.


@pytest.fixture
def issued(world):
    """An issuer that the authority trusts, and somebody whom it names with roles."""
    issuer = DevelopmentIssuer(generate("ecdsa-p256"), entropy=world.hand)
    world.publish(world.registry.authority.with_issuer(issuer.trusted()))
    subject, url = "ana@example.org", issuer.url
    keyless = ExpectedIdentity(subject=subject, issuer=url)
    world.publish(
        world.registry.authority.with_identity(
            "ana", "", [Role.TRAIN], valid_from=world.hand.now(), keyless=keyless
        )
    )
    return issuer


def test_who_an_issuer_vouches_for_has_the_rights_of_their_roles(world, issued):
    principal = access.identify(world.registry, f"Bearer {issued.token('ana@example.org', world.hand.now())}")
    assert principal.name == "ana@example.org"
    assert principal.via == issued.url
    assert {right for right in Right if principal.may(right, "default")} == {
        Right.READ,
        Right.SUBMIT,
        Right.ATTEST,
    }


def test_whom_the_authority_does_not_name_comes_in_nowhere(world, issued):
    jwt = issued.token("eve@example.org", world.hand.now())
    assert refused(world, f"Bearer {jwt}") == "access.token"


def test_who_has_ended_comes_in_nowhere(world, issued):
    jwt = issued.token("ana@example.org", world.hand.now())
    world.publish(world.registry.authority.revoked("ana", world.hand.now()))
    world.hand.pass_(seconds=1)
    assert refused(world, f"Bearer {jwt}") == "access.token"


def test_an_old_token_of_an_issuer_opens_nothing(world, issued):
    jwt = issued.token("ana@example.org", world.hand.now())
    world.hand.pass_(days=1)
    assert refused(world, f"Bearer {jwt}") == "access.token"


def test_another_issuer_opens_nothing(world, issued):
    other = DevelopmentIssuer(generate("ecdsa-p256"), entropy=Hand())
    assert refused(world, f"Bearer {other.token('ana@example.org', world.hand.now())}") == "access.token"


def test_a_project_with_roles_of_its_own_does_not_take_those_of_every_project(world, issued):
    world.publish(world.registry.authority.with_roles("ana", [Role.WAIVE], project="lab"))
    world.publish(world.registry.authority.without_roles("ana", [Role.TRAIN], project="lab"))
    principal = access.identify(world.registry, f"Bearer {issued.token('ana@example.org', world.hand.now())}")
    assert principal.may(Right.SUBMIT, "default")
    assert principal.may(Right.APPROVE, "lab")
    assert not principal.may(Right.SUBMIT, "lab")


# Nobody in particular, and settings.


def test_without_a_token_nothing_is_open_unless_the_project_says_so(world):
    nobody = access.identify(world.registry, "")
    with pytest.raises(Refused):
        access.require(world.registry, nobody, Right.READ, "default")
    change(world, "anonymous-read", "on")
    anybody = access.identify(world.registry, "")
    access.require(world.registry, anybody, Right.READ, "default")
    for right, project in (*product(set(Right) - {Right.READ}, ["default"]), (Right.READ, "other")):
        assert not anybody.may(right, project)
    change(world, "anonymous-read", "off")
    assert not access.identify(world.registry, "").may(Right.READ, "default")


def test_a_setting_that_somebody_wrote_into_the_records_lets_nobody_read(world):
    row = world.registry.record() | {"key": "set/anonymous-read", "value": "on"}
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    edit(world, f"INSERT INTO setting ({columns}) VALUES ({marks})", *row.values())
    with pytest.raises(VerificationFailed):
        access.identify(world.registry, "")


def test_a_setting_holds_for_every_project_until_one_has_its_own(world):
    change(world, "quota.models", "7", project="*")
    assert value(world, "quota.models") == ("7", "*")
    change(world, "quota.models", "3")
    assert value(world, "quota.models") == ("3", "default")
    change(world, "quota.models", "")
    assert value(world, "quota.models") == ("7", "*")


def value(world, key):
    found = next(row for row in project_settings.every(world.registry) if row.key == key)
    return found.value, found.project


@pytest.mark.parametrize(
    ("key", "text"),
    [("quota.models", "many"), ("quota.bytes", "-1"), ("quota.bytes", "007"), ("quota.tokens", "1e3"),
     ("quota.bytes", str(2**60)), ("anonymous-read", "maybe"), ("quota", "1"), ("mode", "off"), ("tally", "x")],
)  # fmt: skip
def test_what_is_no_setting_is_not_set(world, key, text):
    before = project_settings.every(world.registry)
    with pytest.raises(UsageError):
        change(world, key, text)
    assert project_settings.every(world.registry) == before


def test_an_old_change_of_a_setting_does_not_count_again(world):
    change(world, "anonymous-read", "on")
    with world.registry.records.read() as connection:
        first = connection.exec_driver_sql(
            "SELECT envelope, public_pem FROM outbox ORDER BY id DESC LIMIT 1"
        ).one()
    change(world, "anonymous-read", "off")
    from weighbridge.registry.outbox import waiting

    with world.registry.writing():
        submit(world.registry, waiting({"envelope": first[0], "public_pem": first[1]}))
    assert value(world, "anonymous-read") == ("off", "default")


# Quotas.


def test_a_project_without_quotas_has_room_for_everything(world):
    quotas.check_room(world.registry, 2**50)


def test_bytes_beyond_the_quota_are_refused_with_the_figures(world):
    world.take(world.model("a", 1.0))
    used = quotas.used(world.registry)["bytes"]["used"]
    change(world, "quota.bytes", str(used + 100))
    quotas.check_room(world.registry, 100)
    with pytest.raises(OutOfBudget) as caught:
        quotas.check_room(world.registry, 101)
    assert caught.value.check == "quota.bytes"
    assert f"{used:,} of {used + 100:,}" in caught.value.cause


def test_a_file_of_two_models_counts_once(world):
    world.take(world.model("a", 1.0))
    one = quotas.used(world.registry)["bytes"]["used"]
    world.take(world.model("b", 2.0))  # its readme and configuration are the same
    two = quotas.used(world.registry)
    assert one < two["bytes"]["used"] < 2 * one
    assert two["models"]["used"] == 2


def test_models_and_tokens_beyond_the_quota_are_refused(world):
    world.take(world.model("a", 1.0))
    change(world, "quota.models", "1")
    with pytest.raises(OutOfBudget) as caught:
        quotas.check_room(world.registry, 0)
    assert caught.value.check == "quota.models"
    change(world, "quota.tokens", "1")
    token, _ = granted(world)
    with pytest.raises(OutOfBudget) as caught:
        granted(world)
    assert caught.value.check == "quota.tokens"
    world.hand.pass_(seconds=1)
    tokens.end(world.registry, token.id, reason="gone", signer=world.secret("owner"))
    granted(world)


def test_a_token_is_found_by_its_beginning_only_where_that_means_one(world):
    token, _ = granted(world)
    granted(world)
    with pytest.raises(NotFound):
        tokens.find(world.registry, token.id[:4])
    with pytest.raises(NotFound):
        tokens.find(world.registry, "")


def test_of_two_intakes_that_begin_together_one_passes_the_quota(world, monkeypatch):
    first, second = world.model("first"), world.model("second", seed=5.0)
    change(world, "quota.models", "1")
    read = intake.read_tree

    def meanwhile(tree, blobs, **options):
        monkeypatch.setattr(intake, "read_tree", read)
        world.take(second)  # somebody else's, from beginning to end, while the first is being read
        return read(tree, blobs, **options)

    monkeypatch.setattr(intake, "read_tree", meanwhile)
    with pytest.raises(OutOfBudget) as caught:
        world.take(first)
    assert caught.value.check == "quota.models"
    assert quotas.used(world.registry)["models"]["used"] == 1
