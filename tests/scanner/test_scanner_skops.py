"""skops files: plain data passes, listed classes pass with a note, calls and strange names do not."""

import io
import json
import zipfile

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.scanner import skops_rules
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes
from weighbridge.scanner.names import Listed, parse_shape

UNLISTED, DANGEROUS, NOTES = Verdict.UNLISTED, Verdict.DANGEROUS, Verdict.NOTES


def node(full, loader, **more):
    module, _, name = full.rpartition(".")
    return {"__module__": module, "__class__": name, "__loader__": loader, **more}


def pack(schema, **members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("_", "."), data)
        file.writestr("schema.json", json.dumps(schema))
    return out.getvalue()


def found(data):
    part = scan_one(from_bytes("m.skops", data, "unknown"))
    return part.kind, {(finding.rule, finding.verdict) for finding in part.findings}


PLAIN = node(
    "builtins.dict", "DictNode",
    content={
        "a": node("builtins.str", "JsonNode", content='"x"', is_json=True),
        "b": node("numpy.float64", "NdArrayNode", content=1.0, type="json"),
        "c": node("builtins.int", "TypeNode"),
        "d": node("numpy.log1p", "FunctionNode"),
    },
)  # fmt: skip


def test_plain_data_passes():
    assert found(pack(PLAIN)) == ("skops", set())
    assert found(pack(PLAIN, **{"12_bin": bytes(range(200))})) == ("skops", set())


BAD = [
    (node("os.system", "FunctionNode"), ("skops-code", DANGEROUS)),
    (node("subprocess.Popen", "ObjectNode", content=None), ("skops-code", DANGEROUS)),
    (node("my_package.Thing", "ObjectNode"), ("skops-class", UNLISTED)),
    (node("my_package.thing", "TypeNode"), ("skops-class", UNLISTED)),
    (
        node("builtins.dict", "MethodNode", content={"func": "update", "obj": PLAIN}),
        ("skops-class", UNLISTED),
    ),
    (node("builtins.dict", "ConstructorFromReduceNode"), ("skops-class", UNLISTED)),
    (node("builtins.list", "NewNode"), ("skops-class", UNLISTED)),
    (node("builtins.dict", ["DictNode"]), ("skops-class", UNLISTED)),
    ({"__module__": "a.b", "__class__": "C"}, ("skops-class", UNLISTED)),
    ({"__loader__": "DictNode"}, ("skops-class", UNLISTED)),
]


@pytest.mark.parametrize(("bad", "expected"), BAD)
def test_what_nobody_listed_is_found(bad, expected):
    assert found(pack({"content": [PLAIN, bad]}))[1] == {expected}


def test_a_method_or_operator_by_name_is_never_listed():
    for loader in ("OperatorFuncNode", "MethodNode"):
        kind, rules = found(pack(node("operator.methodcaller", loader)))
        assert kind == "skops"
        assert rules & {("skops-class", UNLISTED), ("skops-code", DANGEROUS)}


def test_the_same_keys_are_found_in_json_of_any_name():
    text = json.dumps(BAD[0][0])
    part = scan_one(from_bytes("notes", text.encode(), "unknown"))
    assert [finding.rule for finding in part.findings] == ["skops-code"]


def test_a_class_of_a_profile_is_a_note_and_needs_the_right_to_be_made_and_given_a_state(monkeypatch):
    shape = (parse_shape(""),)

    def listed(build):
        row = Listed(
            library="lib",
            new=shape,
            calls=(),
            build=frozenset(build),
            items=frozenset(),
            key=False,
            made=False,
            why="",
        )
        return lambda _module, _name: row

    schema = pack(node("lib.Model", "ObjectNode", content=PLAIN))
    monkeypatch.setattr(skops_rules, "find", listed({"dict"}))
    assert found(schema)[1] == {("skops-profile", NOTES)}
    monkeypatch.setattr(skops_rules, "find", listed(()))
    assert found(schema)[1] == {("skops-class", UNLISTED)}


def test_a_pickle_among_the_bytes_is_judged():
    kind, rules = found(pack(PLAIN, **{"12_bin": b"cos\nsystem\n(S'x'\ntR."}))
    assert kind == "skops"
    assert ("pickle-call", DANGEROUS) in rules
