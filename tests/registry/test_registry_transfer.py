"""Carrying models, claims and withdrawals to a registry that no network reaches."""

import json
import os
import shutil

import pytest

from weighbridge.core.errors import NotFound, Refused, UsageError, VerificationFailed, WeighbridgeError
from weighbridge.core.tier import Tier
from weighbridge.gate import revoke as revoking
from weighbridge.registry import authorities, fsck, models, project_settings, transfer_in
from weighbridge.registry.import_age import imports, overdue
from weighbridge.registry.transfer import Wanted, export
from weighbridge.registry.transfer_in import take_in
from world_house import Hand, World


@pytest.fixture
def here(tmp_path):
    (tmp_path / "here").mkdir()
    made = World(tmp_path / "here")
    made.folder_of = made.ready("encoder")
    made.promote(made.folder_of)
    made.digest = made.manifest(made.folder_of).digest
    yield made
    made.registry.close()


@pytest.fixture
def there(tmp_path):
    (tmp_path / "there").mkdir()
    made = World(tmp_path / "there", hand=Hand(drawn=5000))
    yield made
    made.registry.close()


def root_of(world):
    return world.registry.pin.roots[0]


def carry(here, there, name="medium", **wanted):
    folder = there.folder / name
    export(here.registry, folder, Wanted((here.digest,), **wanted))
    return folder


def believe(here, there):
    """Name the other registry's people, as its owner decides to."""
    authority = there.registry.authority
    for one in here.registry.authority.identities:
        roles = here.registry.authority.projects["*"].roles
        granted = [role for role, names in roles.items() if one.name in names]
        if one.name in ("train-team", "data-team", "evaluate-team", "package-team", "owner"):
            authority = authority.with_identity(
                f"{one.name}-there", one.pem, granted, project="*", valid_from=there.hand.now()
            )
    authorities.publish(there.registry, authority, there.secret("root"))


def test_a_model_arrives_in_intake_with_its_claims_and_is_judged_by_the_authority_there(here, there):
    folder = carry(here, there)
    found = take_in(there.registry, folder, root=root_of(here))
    assert found.models
    assert not found.waiting
    assert not found.refused
    assert found.claims >= 6
    model = models.get(there.registry, here.digest)
    assert (model.tier, model.source["scheme"]) == (Tier.INTAKE, "transfer")
    assert fsck.blobs(there.registry) == []
    assert fsck.log(there.registry) == []
    from weighbridge.gate.promote import promote

    assert not promote(there.registry, here.digest).decision.allow, "nobody there was named yet"
    again = take_in(there.registry, folder)
    assert (again.claims, again.news) == (0, 0)
    assert again.known == found.claims


def test_claims_count_where_their_signers_are_named(here, there):
    believe(here, there)
    take_in(there.registry, carry(here, there), root=root_of(here))
    from weighbridge.gate.evidence import gather

    ancestry = gather(there.registry, models.get(there.registry, here.digest)).claims
    proven = {fact.stage.value for fact in ancestry if fact.outcome.value == "pass"}
    assert {"data", "train", "evaluate", "package"} <= proven


def test_evidence_goes_ahead_and_bytes_follow(here, there):
    evidence = carry(here, there, "evidence", blobs=False)
    found = take_in(there.registry, evidence, root=root_of(here))
    assert (found.models, len(found.waiting)) == ((), 1)
    here.hand.pass_(minutes=1)
    bytes_ = carry(here, there, "bytes", evidence=False)
    half = min((bytes_ / "blobs").glob("sha256/??/*"))
    kept = half.read_bytes()
    half.unlink()
    there.hand.pass_(minutes=1)
    assert take_in(there.registry, bytes_).waiting
    half.write_bytes(kept)
    assert take_in(there.registry, bytes_).models
    assert fsck.blobs(there.registry) == []


def test_withdrawals_travel_as_a_delta_and_take_effect_where_their_signer_may(here, there):
    believe(here, there)
    take_in(there.registry, carry(here, there), root=root_of(here))
    size = here.registry.log.size
    revoking.revoke(here.registry, here.digest, reason="poisoned", signer=here.secret("owner"))
    here.hand.pass_(minutes=1)
    there.hand.pass_(minutes=1)
    sent = export(here.registry, there.folder / "news", Wanted(since=size))
    assert (sent.models, sent.news) == (0, 1)
    assert take_in(there.registry, there.folder / "news").news == 1
    assert models.get(there.registry, here.digest).status.value == "revoked"
    assert export(here.registry, there.folder / "later", Wanted(since=sent.entries)).news == 0


def test_the_age_of_the_last_import_is_shown_bounded_and_blocks(here, there):
    assert list(overdue(there.registry)) == []
    owner = there.secret("owner")
    project_settings.change(there.registry, "import-days", "7", reason="a week", signer=owner)
    (said,) = overdue(there.registry)
    assert "nothing was ever imported" in said
    take_in(there.registry, carry(here, there), root=root_of(here))
    assert list(overdue(there.registry)) == []
    folder = there.ready("own", seed=4.0)
    assert there.promote(folder).decision.allow
    there.hand.pass_(days=8)
    (said,) = overdue(there.registry)
    assert "older than the 7 days" in said
    result = there.admit(folder)
    assert not result.decision.allow
    assert any("import-days" in f"{check.found}" for check in result.decision.refusals)
    here.hand.pass_(days=8)
    take_in(there.registry, carry(here, there, "fresh"))
    assert there.admit(folder).decision.allow
    assert imports(there.registry)[here.registry.id].entries == here.registry.log.size


def test_an_older_transfer_and_one_of_the_future_are_refused(here, there):
    first = carry(here, there, "first")
    here.hand.pass_(hours=1)
    there.hand.pass_(hours=1)
    take_in(there.registry, carry(here, there, "second"), root=root_of(here))
    with pytest.raises(VerificationFailed) as caught:
        take_in(there.registry, first)
    assert caught.value.check == "transfer.older"
    here.hand.pass_(hours=5)
    with pytest.raises(VerificationFailed) as caught:
        take_in(there.registry, carry(here, there, "third"))
    assert caught.value.check == "transfer.older"


def test_a_log_that_went_back_since_the_last_import_is_refused(here, there):
    shutil.copytree(here.folder, there.folder / "copy")
    here.ready("more", seed=6.0)
    take_in(there.registry, carry(here, there), root=root_of(here))
    here.registry.close()
    shutil.rmtree(here.folder / "registry")
    shutil.copytree(there.folder / "copy" / "registry", here.folder / "registry")
    shutil.rmtree(here.home / "pins")
    shutil.copytree(there.folder / "copy" / "config" / "pins", here.home / "pins")
    here.hand.pass_(minutes=1)
    there.hand.pass_(minutes=1)
    here.reopen()
    with pytest.raises(VerificationFailed) as caught:
        take_in(there.registry, carry(here, there, "rolled-back"))
    assert caught.value.check == "log.consistency"


def test_a_stranger_without_a_root_and_ones_own_transfer_are_refused(here, there):
    folder = carry(here, there)
    with pytest.raises(WeighbridgeError) as caught:
        take_in(there.registry, folder)
    assert caught.value.check == "registry.pinned"
    with pytest.raises(WeighbridgeError):
        take_in(there.registry, folder, root=root_of(there))
    with pytest.raises(UsageError, match="this very registry"):
        take_in(here.registry, folder)
    (there.folder / "full").mkdir()
    (there.folder / "full" / "mine.txt").write_text("x")
    with pytest.raises(Refused):
        export(here.registry, there.folder / "full", Wanted())
    with pytest.raises(NotFound):
        export(
            here.registry,
            there.folder / "unknown",
            Wanted((there.manifest(there.model("other", 3.5)).digest,)),
        )


def test_every_file_of_a_transfer_is_verified(here, there):
    folder = carry(here, there)
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_size and path.name not in ("lock", "mirror", ".now")
    ]
    assert len(files) > 12
    before = there.registry.log.size
    for number, path in enumerate(sorted(files)):
        if path.name in ("log.pub.pem", "cosigned") or "promise" in path.parts:
            continue  # nothing here rests on them
        kept = path.read_bytes()
        path.chmod(0o600)
        if number % 2:
            path.write_bytes(kept[:-2])
        else:
            middle = len(kept) // 2
            path.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
        in_blobs = "blobs" in path.parts
        try:
            found = take_in(there.registry, folder, root=root_of(here))
        except WeighbridgeError:
            pass
        else:
            assert in_blobs, f"{path} was changed"
            assert found.waiting or fsck.blobs(there.registry) == []
        path.write_bytes(kept)
        if not in_blobs and "promise" not in path.parts:
            assert there.registry.log.size == before or "blobs" in str(path), path
        before = there.registry.log.size
    assert take_in(there.registry, folder, root=root_of(here)).models
    assert fsck.blobs(there.registry) == []


@pytest.mark.parametrize("what", ["link", "pipe", "folder-link", "outside"])
def test_hostile_files_are_refused(here, there, what):
    folder = carry(here, there)
    victim = folder / "claims.jsonl"
    if what == "link":
        victim.rename(folder / "elsewhere")
        victim.symlink_to(folder / "elsewhere")
    elif what == "pipe":
        victim.unlink()
        os.mkfifo(victim)
    elif what == "folder-link":
        (folder / "log").rename(there.folder / "log")
        (folder / "log").symlink_to(there.folder / "log")
    else:
        from weighbridge.core.canonical import canonical
        from weighbridge.registry.transfer import TYPE
        from weighbridge.trust.dsse import sign

        body = json.loads((folder / "transfer.json").read_bytes())
        body["models"] = ["wb1:" + "0" * 64]
        body["members"].append({"path": "../../etc/passwd", "size": 1, "sha256": "0" * 64})
        (folder / "transfer.json").write_bytes(canonical(body) + b"\n")
        signed = sign(TYPE, canonical(body), here.registry.log_key)
        (folder / "transfer.sig.json").write_bytes(canonical(signed.to_json()) + b"\n")
    with pytest.raises(WeighbridgeError):
        take_in(there.registry, folder, root=root_of(here))
    assert imports(there.registry) == {}


def test_an_import_cut_off_at_any_step_goes_on(here, there, monkeypatch):
    folder = carry(here, there)
    for step in ("_hand_in", "_models"):
        real = getattr(transfer_in._Taking, step)

        def cut(self, *args, real=real):
            real(self, *args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(transfer_in._Taking, step, cut)
            with pytest.raises(KeyboardInterrupt):
                take_in(there.registry, folder, root=root_of(here))
        assert imports(there.registry) == {}
    assert take_in(there.registry, folder).models
    assert fsck.log(there.registry) == []
