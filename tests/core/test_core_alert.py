"""Who is told, as a user writes it: strict, with the word that was probably meant, and never a secret."""

from pathlib import Path

import pytest

from weighbridge.config import read_config
from weighbridge.core.alert import SEVERITIES, Alert, Sink
from weighbridge.core.errors import BadSetting

HOOK = 'name = "ops"\ntype = "webhook"\nurl = "https://hooks.example/x"\nsecret_env = "HOOK"\n'


def read(tmp_path, *entries, before=""):
    text = before + "".join(f"[[alert]]\n{entry}" for entry in entries)
    (tmp_path / "weighbridge.toml").write_text(text)
    return read_config({"WEIGHBRIDGE_CONFIG_HOME": str(tmp_path)}).alerts


def test_what_is_left_out_has_its_default(tmp_path):
    [sink] = read(tmp_path, HOOK)
    assert sink == Sink("ops", "webhook", url="https://hooks.example/x", secret_env="HOOK", heartbeat=True)
    assert read(tmp_path) == ()
    [here] = read(tmp_path, 'name = "here"\ntype = "stderr"\n')
    assert (here.heartbeat, here.severity) == (False, "info")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('type = "webhook"\n', "name, url, secret_env"),
        ('name = "a"\n', "type is None"),
        ('name = "a"\ntype = "webhok"\n', "did you mean 'webhook'"),
        (HOOK + 'severty = "info"\n', "did you mean 'severity'"),
        (HOOK + 'severity = "warn"\n', "did you mean 'warning'"),
        (HOOK + 'kinds = ["revokation"]\n', "did you mean 'revocation'"),
        (HOOK + "kinds = []\n", "leave it out"),
        (HOOK + 'kinds = "outage"\n', "is a list"),
        (HOOK + 'secret = "hunter2"\n', "knows no 'secret'"),
        (HOOK + "seconds = 0\n", "from 1 to 60"),
        (HOOK + "seconds = true\n", "from 1 to 60"),
        (HOOK + "seconds = 61\n", "from 1 to 60"),
        (HOOK + 'heartbeat = "yes"\n', "true or false"),
        (HOOK.replace('"ops"', '"Ops team"'), "small letters"),
        (HOOK.replace('"HOOK"', '"$HOOK"'), "never the secret itself"),
        (HOOK.replace('"HOOK"', "[]"), "never the secret itself"),
        (HOOK.replace("https://", "ftp://"), "https://host/path"),
        (HOOK.replace("https://", "https://me:pw@"), "without a user name"),
        (HOOK.replace("hooks.example", ""), "https://host/path"),
        (HOOK.replace("hooks.example", "a:99999"), "https://host/path"),
        (HOOK.replace("/x", "/\\u0007"), "printable"),
        ('name = "f"\ntype = "file"\npath = ""\n', "not empty"),
        ('name = "p"\ntype = "plugin"\nplugin = "x"\n', "does not say digest"),
        ('name = "p"\ntype = "plugin"\nplugin = "x"\ndigest = "sha256:1"\n', "sha256: digest"),
        ('name = "p"\ntype = "plugin"\nplugin = "x"\ndigest = "wb1:' + "0" * 64 + '"\n', "sha256: digest"),
        ('name = "am"\ntype = "alertmanager"\nurl = "https://a"\nhold_seconds = 1\n', "from 60"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_entry(tmp_path, entry, says):
    with pytest.raises(BadSetting) as caught:
        read(tmp_path, 'name = "first"\ntype = "stderr"\n', entry)
    assert "entry 2 of [[alert]]" in caught.value.problem
    assert says in f"{caught.value.cause} {caught.value.remedy}"


@pytest.mark.parametrize(
    "entry", [HOOK.replace("https://", "https://me:hunter-2@"), HOOK.replace("HOOK", "hunter-2")]
)
def test_what_may_be_a_secret_is_not_repeated(tmp_path, entry):
    with pytest.raises(BadSetting) as caught:
        read(tmp_path, entry)
    assert "hunter-2" not in str(caught.value)


@pytest.mark.parametrize("text", ["alert = 1\n", 'alert = "x"\n', "alert = [1]\n", "[alert]\nx = 1\n"])
def test_what_is_no_entry_is_refused(tmp_path, text):
    with pytest.raises(BadSetting):
        read(tmp_path, before=text)


def test_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(BadSetting, match="entry 2"):
        read(tmp_path, HOOK, HOOK)


def test_alerts_is_a_mistyped_alert(tmp_path):
    (tmp_path / "weighbridge.toml").write_text("[[alerts]]\n" + HOOK)
    with pytest.raises(BadSetting) as caught:
        read_config({"WEIGHBRIDGE_CONFIG_HOME": str(tmp_path)})
    assert "'alert'" in caught.value.remedy


def test_who_wants_what():
    def alert(kind, severity):
        return Alert("i", 1, kind, severity, "p", "a", "s", (), {}, 1, "f", "l")

    picky = Sink("a", "stderr", severity="warning", kinds=("outage",))
    assert [picky.wants(alert("outage", severity)) for severity in SEVERITIES] == [False, True, True]
    assert not picky.wants(alert("waiver", "critical"))
    assert not picky.wants(alert("heartbeat", "info"))
    assert picky.wants(alert("test", "info"))
    assert Sink("a", "stderr", heartbeat=True).wants(alert("heartbeat", "info"))


def test_another_place_is_another_address():
    one = Sink("a", "webhook", url="https://a/1")
    assert one.address == Sink("b", "webhook", url="https://a/1", severity="critical").address
    assert len({one.address, Sink("a", "webhook", url="https://a/2").address,
                Sink("a", "file", path=Path("x")).address}) == 3  # fmt: skip


def test_a_key_is_of_one_occurrence():
    first = Alert("i", 1, "waiver", "info", "p", "a", "s", (), {}, 1, "f", "l")
    again = Alert("i", 9, "waiver", "info", "p", "b", "s", (), {"x": 1}, 1, "f", "l")
    second = Alert("i", 2, "waiver", "info", "p", "a", "s", (), {}, 2, "f", "l")
    assert first.key == again.key != second.key
