"""Secrets are planted everywhere a recorder looks; none of them is in a claim, in a bundle, in a log or in an error."""

import base64
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import UsageError
from weighbridge.core.redact import STRUCK
from weighbridge.recorder.scrub import MAX_TEXT, Scrub
from world_recorder import everything, record_of, said, train

ENVIRONMENT = {
    "HF_TOKEN": "hf_PlantedTokenThatMustNotAppear42",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+access/key/0123456789",
    "DATABASE_PASSWORD": "correct horse battery staple",
    "AZURE_STORAGE_CONNECTION_STRING": "AccountName=x;AccountKey=cGxhbnRlZGtleQ==",
    "HARMLESS_NAME": "planted-in-a-variable-of-no-suspicious-name",
}
ARGUMENTS = [
    ("--hub_token", "plantedargument"),
    ("--password=plantedequals",),
    ("db.password=plantedhydra",),
    ("--api-key", "--planted-like-an-option"),
    ("--config", '{"api_key": "plantedjson", "lr": 1}'),
    ("--endpoint", "https://planteduser:plantedpw@host.example/x?token=plantedquery&n=1"),
    ("--remote", "https://plantedusertoken@git.example/x.git"),
    ("--header", "Authorization: Bearer plantedbearertoken"),
    ("ghp_PlantedGitHubToken0123456789abcdef",),
    ("sk-PlantedServiceKey0123456789abcdef",),
    ("Zx8Qw3Er5Ty7Ui9Op1As2Df4Gh6Jk0L",),
    ("--s3", "https://b.s3.example/x?X-Amz-Signature=plantedsignature&a=b"),
]


def planted_arguments():
    """Return each secret part of the arguments."""
    return [
        "plantedargument", "plantedequals", "plantedhydra", "--planted-like-an-option", "plantedjson", "planteduser",
        "plantedpw", "plantedquery", "plantedusertoken", "plantedbearertoken", "PlantedGitHubToken",
        "PlantedServiceKey", "Zx8Qw3Er5Ty7Ui9Op1As2Df4Gh6Jk0L", "plantedsignature",
    ]  # fmt: skip


def forms(secret):
    """Yield a secret as it could be carried along: plain, in base64, as JSON writes it, its parts."""
    yield secret
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield json.dumps(secret)[1:-1]


def assert_absent(secrets, text):
    found = [secret for secret in secrets for form in forms(secret) if form in text]
    assert found == []


@pytest.fixture
def planted(world, monkeypatch):
    """A working folder in which every file that a recorder might look at holds a secret."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    folder = Path.cwd()
    run = ("git", "-c", "user.email=a@b", "-c", "user.name=planted-person", "-C", str(folder))
    subprocess.run([*run, "init", "-q"], check=True)
    (folder / "train.py").write_text("password = 'plantedinthescript'\n")
    (folder / "pip.conf").write_text("[global]\nindex-url = https://u:plantedpip@index.example\n")
    (folder / ".env").write_text("TOKEN=planteddotenv\n")
    (folder / "config.yaml").write_text("api_key: plantedyaml\n")
    (folder / "uv.lock").write_text(
        '[[package]]\nname = "numpy"\nversion = "0.0.1"\n'
        'source = { registry = "https://u:plantedlock@index.example/simple" }\n'
        'wheels = [{ url = "https://u:plantedurl@index.example/x.whl", hash = "sha256:00" }]\n'
    )
    subprocess.run([*run, "add", "train.py"], check=True)
    subprocess.run([*run, "commit", "-qm", "plantedmessage"], check=True)
    subprocess.run(
        [
            *run,
            "remote",
            "add",
            "origin",
            "https://planteduser:plantedremote@git.example/team/code.git?x=plantedq",
        ],
        check=True,
    )
    subprocess.run([*run, "config", "http.extraheader", "AUTHORIZATION: basic plantedheader"], check=True)
    monkeypatch.setattr(sys, "argv", ["/planted-home/train.py", *(word for row in ARGUMENTS for word in row)])
    return [
        "plantedinthescript", "plantedpip", "planteddotenv", "plantedyaml", "plantedlock", "plantedurl",
        "planteduser", "plantedremote", "plantedq", "plantedheader", "plantedmessage", "planted-person",
        "/planted-home", *planted_arguments(), *ENVIRONMENT.values(), "cGxhbnRlZGtleQ==",
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["registry", "file"])
def test_nothing_planted_is_in_what_a_run_leaves(world, signed_data, start, planted, caplog, capfd, where):
    caplog.set_level(logging.DEBUG)
    out = world.folder / "out"
    more = {"bundle": world.folder / "claim.json"} if where == "file" else {}
    parameters = {
        "lr": 0.1,
        "hub_token": "plantedparameter",
        "nested": {"auth": ["plantedlist"], "ok": ["kept"], "credentials": {"user": "plantedinner"}},
        "note": f"the key is {ENVIRONMENT['WANDB_API_KEY']}",
        ENVIRONMENT["HF_TOKEN"]: "a secret as a name",
    }
    with start(inputs=[signed_data], outputs=[out], script="train.py", parameters=parameters, **more) as run:
        run.attach(
            "tracker", lambda: {"password": "plantedattached", "params": {"api_key": "plantedtracked"}}
        )
        run.metric(f"loss {ENVIRONMENT['HF_TOKEN']}", 1.0)
        train(out)
    text = everything(run) + caplog.text + "".join(capfd.readouterr()) + repr(run.plan)
    secrets = [
        *planted, "plantedparameter", "plantedlist", "plantedinner", "plantedattached", "plantedtracked",
    ]  # fmt: skip
    assert_absent(secrets, text)
    record = record_of(run.claims[0])
    assert record["code"]["remote"] == "https://git.example/team/code.git"
    assert record["code"]["script"] == "train.py"
    assert record["arguments"][0] == "train.py"
    assert "lr" in said(run.claims[0])["buildDefinition"]["externalParameters"]
    assert said(run.claims[0])["buildDefinition"]["externalParameters"]["nested"]["ok"] == ["kept"]
    kept = b"".join(path.read_bytes() for path in world.registry.layout.root.rglob("*") if path.is_file())
    assert_absent(secrets, kept.decode("utf-8", errors="replace"))


def test_a_notebook_is_named_by_its_digest_alone(world, signed_data, start):
    notebook = Path("train.ipynb")
    cell = {"cell_type": "code", "source": ["token = 'plantedcell'"], "outputs": [{"text": "plantedoutput"}]}
    notebook.write_text(
        json.dumps({"metadata": {"authors": "plantedauthor", "api_key": "plantedmeta"}, "cells": [cell]})
    )
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out], script=notebook) as run:
        train(out)
    assert record_of(run.claims[0])["code"]["script"] == "train.ipynb"
    assert_absent(["plantedcell", "plantedoutput", "plantedauthor", "plantedmeta"], everything(run))


def test_only_named_variables_are_written_down(world, signed_data, start, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("MY_CLUSTER", "north")
    monkeypatch.setenv("NOT_NAMED", "x")
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out], environment=["MY_CLUSTER", "NOT_SET"]) as run:
        train(out)
    assert record_of(run.claims[0])["variables"] == {"MY_CLUSTER": "north", "PYTHONHASHSEED": "7"}


@pytest.mark.parametrize("name", ["HF_TOKEN", "DATABASE_PASSWORD", "MY_API_KEY", "X_SECRET"])
def test_a_variable_that_looks_secret_cannot_even_be_named(world, signed_data, start, name):
    with (
        pytest.raises(UsageError) as refused,
        start(inputs=[signed_data], outputs=[world.folder / "out"], environment=[name]),
    ):
        pytest.fail("the block was entered")
    assert refused.value.check == "recorder.secret"


def test_a_value_of_a_named_variable_that_is_a_secret_is_struck_out(world, signed_data, start, monkeypatch):
    monkeypatch.setenv("MY_CLUSTER", "https://u:plantedpw@host")
    out = world.folder / "out"
    with start(inputs=[signed_data], outputs=[out], environment=["MY_CLUSTER"]) as run:
        train(out)
    assert record_of(run.claims[0])["variables"]["MY_CLUSTER"] == f"https://{STRUCK}@host"


# The scrub alone.


@pytest.mark.parametrize("row", ARGUMENTS, ids=lambda row: row[0])
def test_each_kind_of_argument(row):
    text = " ".join(Scrub({}).arguments(["train.py", *row]))
    assert STRUCK in text
    assert_absent(planted_arguments(), text)


@pytest.mark.parametrize(
    "word",
    [
        "--max_tokens=512", "--tokenizer=bert-base-uncased", "--pad_token=<pad>", "--output=./runs/2026-11-23-llama-3-8b",
        "--lr=1e-4", "--dataset=org/name", "--revision=3f1b4d8a5d1d0b2a7c3f1b4d8a5d1d0b2a7c0000", "--bf16",
        "--data=/data/part-00001-of-00032.parquet", f"--base=wb1:{'0a' * 32}",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(word):
    assert Scrub({}).arguments([word]) == [word]


@pytest.mark.parametrize(
    "name", ["token", "hub_token", "Password", "api-key", "AUTH", "private_key", "clientSecret"]
)
def test_values_under_secret_names_go(name):
    assert Scrub({}).value({name: "x", "n": {name: ["x"]}}) == {name: STRUCK, "n": {name: [STRUCK]}}


def test_a_number_under_token_is_a_count_and_under_password_it_is_not():
    assert Scrub({}).value({"num_tokens": 5, "tokens": "12", "password": 1234, "pin_password": "1234"}) == {
        "num_tokens": 5,
        "tokens": "12",
        "password": STRUCK,
        "pin_password": STRUCK,
    }


@given(
    st.text(alphabet="abcXYZ019-_/+ ", min_size=6, max_size=40), st.text(max_size=30), st.text(max_size=30)
)
def test_a_value_of_the_environment_is_found_wherever_it_stands(secret, before, after):
    scrub = Scrub({"SOME_TOKEN": secret})
    assert secret not in scrub.text(f"{before}{secret}{after}").replace(STRUCK, "\0")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
                    max_leaves=20))  # fmt: skip
def test_whatever_it_is_given_becomes_json_that_can_be_signed(value):
    from weighbridge.core.canonical import canonical, parse

    once = Scrub({}).value(value)
    assert parse(canonical(once)) is not None or once is None


def test_a_secret_does_not_show_where_a_long_text_is_cut():
    secret = "correct horse battery staple"
    text = Scrub({"MY_PASSWORD": secret}).text("x " * (MAX_TEXT // 2 - 5) + secret + " y" * 5000)
    assert "correct" not in text
    assert len(text) < MAX_TEXT + 20


def test_what_is_endless_or_deep_ends():
    deep = []
    for _ in range(100):
        deep = [deep]
    assert len(json.dumps(Scrub({}).value(deep))) < 100
    assert len(Scrub({}).value({str(n): n for n in range(10_000)})) == 501
    assert len(Scrub({}).arguments(["x"] * 100_000)) == 500
