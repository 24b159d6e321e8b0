"""`licence`: exit codes, what it shows, and a conclusion that changes the answer; its page in docs holds its words."""

import json
from pathlib import Path

from weighbridge.bom.licence_words import Duty
from weighbridge.core.tier import Origin

PAGE = (Path(__file__).parents[2] / "docs/reference/licences.md").read_text(encoding="utf-8")


def test_an_unknown_licence_is_told_from_one_that_fits(world, call):
    weights = (world.model() / "model.safetensors").read_bytes()
    world.take(world.files("bare", model__safetensors=weights), origin=Origin.THIRD_PARTY)
    code, out, _ = call("licence", "./bare")
    assert code == 3
    assert "UNKNOWN_LICENCE" in out
    assert out.count("not legal advice") == 1
    assert call("licence", "conclude", "./bare", "mit", "--reason", "asked")[0] == 0
    code, out, _ = call("licence", "./bare", "--format", "json")
    item = json.loads(out)["licences"][0]
    assert (code, item["concluded"]["licence"], item["findings"]) == (0, "mit", [])


def test_what_drops_a_duty_ends_with_one_and_shows_the_way(world, call):
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    assert call("licence", "conclude", "./base", "cc-by-nc-4.0", "--reason", "its page")[0] == 0
    code, out, _ = call("licence", tuned)
    assert code == 1
    assert "LICENCE_LAUNDERING" in out
    assert "—fine-tune→" in out
    assert "CC-BY-NC-4.0 §2(a)(1)" in out


def test_what_cannot_be_concluded_is_said(world, call):
    world.ready()
    assert call("licence", "conclude", "./encoder", "whatever", "--reason", "so")[0] == 2
    assert call("licence", "conclude", "alias:x", "mit", "--reason", "so")[0] == 2
    assert call("licence", "list", "nonsense")[0] == 2
    code, out, _ = call("licence", "list", "gemma")
    assert code == 0
    assert "§1.1(e)" in out


def test_the_page_explains_every_duty():
    assert [duty.value for duty in Duty if f"`{duty.value}`" not in PAGE] == []
