"""`revoke` as a person types it: a signer, rules, scans, a model; listed, lifted, refused, and as documented data."""

import json
from pathlib import Path

import jsonschema
import pytest

from weighbridge.keys.files import generate
from weighbridge.scanner.ruleset import ruleset

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"


def items(kind, text):
    """Return the items of a JSON answer that has the documented shape."""
    document = json.loads(text)
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    return next(value for value in document.values() if isinstance(value, list))


@pytest.fixture
def running(world, call):
    """A trusted model, running at prod/chat, and its digest."""
    folder = world.ready()
    assert call("promote", f"./{folder.name}", "--name", "chat")[0] == 0
    assert call("deploy", "chat", "--target", "prod/chat")[0] == 0
    return world.manifest(folder).digest


def test_a_signer_is_distrusted_and_what_rests_on_it_is_named(call, running):
    code, output, error = call(
        "revoke", "--signer", "train-team", "--from", "2026-11-01", "--reason", "stolen"
    )
    assert code == 0, error
    said, rest = output.split(": ", 1)
    assert rest.splitlines() == [
        "what train-team signed from 2026-11-01T00:00:00Z on counts no longer, in every project",
        f"to be judged again: {running.short}",
        f"runs now: prod/chat ({running.short})",
        "judge them again: weighbridge reevaluate",
    ]
    [row] = items("distrust", call("revoke", "--list", "--format", "json")[1])
    assert (row["id"], row["name"], row["from"], row["lifted"]) == (
        said,
        "train-team",
        "2026-11-01T00:00:00Z",
        None,
    )
    code, output, _ = call("admit", "chat")
    assert code == 1
    assert said in output


def test_what_is_distrusted_is_the_documented_data(call, running):
    words = (
        "--before",
        "2026-11-23",
        "--reason",
        "the disk lied",
        "--project",
        "default",
        "--format",
        "json",
    )
    code, output, error = call("revoke", *words)
    assert code == 0, error
    [row] = items("distrust", output)
    assert (row["what"], row["project"], row["before"]) == ("scans", "default", "2026-11-23T00:00:00Z")
    assert "key" not in row


def test_rules_are_distrusted_and_nothing_is_admitted_until_that_is_lifted(call, running):
    rules = str(ruleset().digest)
    code, output, error = call("revoke", "--ruleset", rules, "--reason", "it misses nested archives")
    assert code == 0, error
    assert f"scans under ruleset {ruleset().digest.short} count no longer" in output
    assert f"to be judged again: {running.short}" in output
    said = output.split(":")[0]
    assert call("admit", "chat")[0] == 3
    code, output, error = call("revoke", "--lift", said[:9], "--reason", "it does not")
    assert code == 0, error
    assert output.splitlines() == [
        f"{said} is lifted: scans under ruleset {ruleset().digest.short} count again",
        "judge again what fell meanwhile: weighbridge reevaluate",
    ]
    assert call("admit", "chat")[0] == 0


def test_where_nothing_rests_on_it_that_is_said(world, call):
    world.team()
    code, output, _ = call("revoke", "--ruleset", f"sha256:{'0' * 64}", "--reason", "so")
    assert (code, output.splitlines()[1:]) == (0, ["nothing that is trusted in this project rests on it"])


def test_the_list_shows_what_stands_and_what_was_lifted(world, call):
    world.team()
    assert call("revoke", "--list") == (0, "nobody is distrusted\n", "")
    assert items("distrust", call("revoke", "--list", "--format", "json")[1]) == []
    said = call("revoke", "--signer", "train-team", "--from", "2026-11-01", "--reason", "stolen")[1].split(
        ":"
    )[0]
    listed = call("revoke", "--list")[1].splitlines()
    assert listed[0].split() == ["id", "what", "project", "since", "lifted", "reason"]
    assert listed[1].startswith(f"{said}  what train-team signed from")
    assert listed[1].endswith("  stolen")
    assert call("revoke", "--lift", said, "--reason", "it was in the safe")[0] == 0
    [row] = items("distrust", call("revoke", "--list", "--format", "json")[1])
    assert (row["lifted"][:2], row["lift_reason"]) == ("20", "it was in the safe")


def test_a_model_is_revoked_for_good_and_what_runs_is_named(call, running):
    code, output, error = call("revoke", "chat", "--reason", "a backdoor", "--format", "json")
    assert code == 0, error
    [row] = items("revocation", output)
    assert (row["revoked"], row["reason"]) == ([str(running)], "a backdoor")
    assert [where["target"] for where in row["deployed"]] == ["prod/chat"]
    code, output, _ = call("revoke", "chat", "--reason", "a backdoor")
    assert f"runs now: prod/chat ({running.short})" in output
    code, _, error = call("reevaluate", "chat")
    assert code == 2
    assert "a revocation stands for good" in error


def test_what_comes_from_a_certificate_cannot_write_on_the_terminal(world, call):
    world.team()
    _, output, _ = call(
        "revoke", "--signer", "a@b\x1b]0;owned\x07", "--from", "2026-11-01", "--reason", "odd"
    )
    assert "\x1b" not in output
    assert "\x1b" not in call("revoke", "--list")[1]


LATER = "2099-01-01"
WRONG = {
    "": "weighbridge revoke MODEL, or --signer WHO",
    "--signer train-team --reason x": "--from 2026-11-20T14:00:00Z",
    "--from 2026-11-01 --reason x": "weighbridge revoke MODEL, or --signer WHO",
    "chat --from 2026-11-01 --reason x": "leave --from out",
    "chat --issuer https://i.example --reason x": "leave it out",
    f"--signer train-team --from {LATER} --reason x": "--from 2",
    "--signer train-team --from yesterday --reason x": "2026-11-20T14:00:00Z",
    "--signer nobody --from 2026-11-01 --reason x": "known are data-team",
    "--signer sha256:12 --from 2026-11-01 --reason x": "weighbridge trust show",
    f"--before {LATER} --reason x": "name an earlier moment",
    "--before 2026-13-01 --reason x": "2026-11-20T14:00:00Z",
    "--ruleset 12 --reason x": "give the digest as ALGORITHM:HEX",
    f"--ruleset wb1:{'0' * 64} --reason x": "weighbridge decisions --format json",
    "--lift dis-1234 --reason x": "weighbridge revoke --list",
    "--lift dis-1234": 'say why with --reason "…"',
    "nothing --reason x": "for a folder of that name type ./nothing",
    "chat": 'say why with --reason "…"',
    "chat --list": "only one thing",
    "chat --before 2026-11-01 --reason x": "only one thing",
    "--list --lift dis-1234": "only one thing",
    "--signer train-team --from 2026-11-01 --reason x --key gone.pem": "gone.pem",
}


@pytest.mark.parametrize("typed", WRONG)
def test_what_cannot_be_meant_is_refused_with_what_to_type(world, call, typed):
    world.team()
    code, output, error = call("revoke", *typed.split())
    assert (code, output) == (2, ""), error
    assert WRONG[typed] in error
    assert items("distrust", call("revoke", "--list", "--format", "json")[1]) == []


def test_a_mistake_is_data_where_data_was_asked_for(world, call):
    code, output, _ = call("revoke", "--lift", "dis-1234", "--reason", "x", "--format", "json")
    [row] = items("error", output)
    assert (code, row["kind"], row["remedy"]) == (2, "not-found", "see them: weighbridge revoke --list")


def test_whoever_may_not_revoke_is_refused(world, call):
    world.team()
    world.people["train-team"].save(world.folder / "train.pem")
    generate().save(world.folder / "stranger.pem")
    for key in ("train.pem", "stranger.pem"):
        for what in (("--signer", "data-team", "--from", "2026-11-01"), ("--before", "2026-11-01")):
            code, _, error = call("revoke", *what, "--reason", "spite", "--key", key)
            assert (code, "does not hold the role 'revoke'" in error) == (1, True)
    assert call("revoke", "--list")[1] == "nobody is distrusted\n"
