"""The page on alerts: its settings are read, its verifier verifies, its tables are whole, its plug-in can be one."""

import re
from pathlib import Path

import pytest
import yaml

from weighbridge.config import read_config
from weighbridge.core.alert import KINDS, TYPES
from weighbridge.gate.alerting import deliver
from weighbridge.registry.alerts import alert
from world import World
from world_receiver import SECRET, Receiver

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "alerts.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_settings_of_the_page_are_settings(tmp_path):
    (tmp_path / "weighbridge.toml").write_text(blocks("toml")[0])
    sinks = read_config({"WEIGHBRIDGE_CONFIG_HOME": str(tmp_path)}).alerts
    assert {sink.type for sink in sinks} == set(TYPES) - {"stderr"}
    assert [sink.heartbeat for sink in sinks] == [True, True, False, False]
    assert sinks[2].path == tmp_path / "alerts.jsonl"


def test_the_table_of_kinds_is_whole():
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert dict(rows[: len(KINDS)]) == dict(KINDS)


def test_the_verifier_of_the_page(tmp_path):
    names = {}
    exec(compile(blocks("python")[0], "alerts.md", "exec"), names)
    world, receiver = World(tmp_path), Receiver()
    try:
        (world.home / "weighbridge.toml").write_text(
            f'[[alert]]\nname = "ops"\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_env = "HOOK"\n'
        )
        world.reopen(project="vision")
        with world.registry.records.write() as connection:
            alert(connection, world.registry, "waiver", "info", "excused")
        assert deliver(world.registry, environ={"HOOK": SECRET})[0].told == 1
    finally:
        receiver.close()
        world.registry.close()
    [(_, headers, body)] = receiver.requests
    now, seen = world.hand.now().timestamp(), set()
    told = names["alert_of"](headers, body, SECRET.encode(), seen, now)
    assert (told["summary"], told["project"]) == ("excused", "vision")
    assert names["alert_of"](headers, body, SECRET.encode(), seen, now) is None
    for bad in (body + b" ", body.replace(b"excused", b"EXCUSED")):
        with pytest.raises(PermissionError):
            names["alert_of"](headers, bad, SECRET.encode(), seen, now)
    with pytest.raises(PermissionError):
        names["alert_of"](headers, body, SECRET.encode(), seen, now + 301)


def test_the_routing_is_one():
    route = yaml.safe_load(blocks("yaml")[0])["route"]
    assert [row["receiver"] for row in route["routes"]] == ["deadman", "pager"]
    assert "WeighbridgeHeartbeat" in route["routes"][0]["matchers"][0]


def test_the_plugin_of_the_page(capsys):
    names = {}
    exec(compile(blocks("python")[1], "alerts.md", "exec"), names)
    names["tell"]([{"severity": "info", "summary": "so"}], {"room": "models"})
    assert capsys.readouterr().out == "models info so\n"
