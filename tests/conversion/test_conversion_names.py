"""Names and side content: paths, collisions, hostile names, cycles, modules, and JSON that says what else was there."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.conversion.names import (
    NameLimits,
    metadata_of,
    name_tensors,
    read_aliases,
    ties,
)
from weighbridge.core.canonical import MAX_SAFE_INTEGER, canonical
from weighbridge.core.errors import ConversionRefused, OutOfBudget
from weighbridge.formats.pickle_graph import read_graph
from weighbridge.formats.torch_values import CALLS, storage_of
from world_checkpoints import Call, G, New, Raw, emit, ordered, storage, tensor

ONE = tensor(storage("0", numel=6), (6,))
TWO = tensor(storage("0", numel=6), (2, 3))


def named(value, **limits):
    graph = read_graph(b"\x80\x02" + emit(value) + b".", calls=CALLS, persistent=storage_of)
    return name_tensors(graph.root, NameLimits(**limits))


def names(value):
    return list(named(value).tensors)


def side(value):
    """Return the side content of a value that stands beside a tensor."""
    content = named({"t": ONE, "x": value}).side
    assert canonical(content)
    return content["content"]["dict"]["x"]


def refusal(value):
    with pytest.raises(ConversionRefused) as caught:
        named(value)
    return caught.value


def test_paths_of_dicts_lists_tuples_and_numbers():
    value = {"a": {"b.c": ONE, 7: TWO}, "list": [ONE, (TWO, {"x": ONE})]}
    assert names(value) == ["a.b.c", "a.7", "list.0", "list.1.0", "list.1.1.x"]
    assert names(ONE) == ["tensor"]
    assert names([ONE]) == ["0"]
    assert names(ordered([("z", ONE), ("a", TWO)])) == ["z", "a"]


def test_attributes_of_objects_are_part_of_the_path():
    value = {"net": New(G("m", "Net"), (TWO,), {"weight": ONE, "_parameters": {"x": ONE}})}
    assert names(value) == ["net.0", "net.weight", "net._parameters.x"]


def module(parameters, modules=None, buffers=None, **more):
    tables = {
        "_parameters": ordered(parameters),
        "_buffers": ordered(buffers or []),
        "_modules": ordered(modules or []),
    }
    return New(G("torch.nn.modules", "M"), (), {"training": False, **tables, **more})


def test_a_module_is_called_as_its_state_dict_would():
    inner = module([("weight", ONE), ("bias", None)], buffers=[("mean", TWO)])
    value = module([("scale", ONE)], modules=[("layer", inner)], extra={"cache": TWO})
    assert names(value) == ["scale", "layer.weight", "layer.mean", "extra.cache"]
    content = named(value).side["content"]
    assert content["object"] == ["torch.nn.modules", "M"]
    assert content["state"]["training"] is False
    assert content["state"]["_modules"]["dict"]["layer"]["state"]["_parameters"]["dict"]["bias"] is None


def test_a_module_whose_tables_collide_is_refused():
    assert refusal(module([("x", ONE)], buffers=[("x", TWO)])).check == "conversion.name"
    assert refusal(module([("x", ONE)], x=TWO)).check == "conversion.name"


def test_state_with_slots_is_joined():
    assert names(New(G("m", "C"), (), ({"a": ONE}, {"b": TWO}))) == ["a", "b"]
    assert names(New(G("m", "C"), (), (None, {"b": TWO}))) == ["b"]
    assert names(New(G("m", "C"), (), [ONE])) == ["0"]


def test_objects_that_are_lists_or_dicts_too():
    filled = Raw(b"cm\nD\n)\x81(" + emit("k") + emit(ONE) + b"u(" + emit(TWO) + emit(3) + b"e")
    assert names({"o": filled}) == ["o.0", "o.k"]
    assert named({"o": filled, "s": 1}).side["content"]["dict"]["o"] == {
        "object": ["m", "D"], "items": {"tensors": "o"}, "elements": [{"tensors": "o.0"}, 3],
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        {"a.b": ONE, "a": {"b": ONE}},
        {"a": {"b": ONE}, "a.b": TWO},
        {1: ONE, "1": ONE},
        {"a": [ONE], "a.0": ONE},
        Raw(b"}(" + emit("a") + emit(ONE) + emit("a") + emit(TWO) + b"u"),
        {"m": New(G("m", "C"), (ONE,), {"0": TWO})},
    ],
)
def test_names_that_meet_are_refused(value):
    assert refusal(value).check == "conversion.name"


def test_a_key_set_twice_is_refused_also_without_tensors():
    twice = Raw(b"}(" + emit("a") + emit(1) + emit("a") + emit(2) + b"u")
    assert refusal({"t": ONE, "x": twice}).check == "conversion.key"


@pytest.mark.parametrize(
    "name",
    [
        "a\nb",
        "a\tb",
        "\x00",
        "\x7f",
        "",
        "__metadata__",
        "x" * 1025,
        "é" * 513,
        "a\u2028b",
        "a\u202eb",
        "\ud800",
        "a\x85",
    ],
)
def test_names_nobody_should_meet_are_refused(name):
    assert refusal({name: ONE}).check == "conversion.name"


def test_unusual_names_that_are_fine():
    for name in ("x" * 1024, "é" * 512, "a b", "层.权重", "a/b", '"', "\\", "..", "format", "\U0001f600"):
        assert names({name: ONE}) == [name]


@pytest.mark.parametrize("key", ["", None, True, 1.5, ("a", 1), b"k", G("m", "K")])
def test_a_tensor_below_a_key_that_is_no_name_is_refused(key):
    assert refusal({"x": Raw(b"}" + emit(key) + emit(ONE) + b"s")}).check == "conversion.name"


def test_a_tensor_in_a_set_is_refused():
    assert refusal([Call(G("builtins", "set"), ([ONE],))]).check == "conversion.name"


def test_no_tensor_at_all_is_refused():
    for value in ({}, [], None, {"a": 1}, New(G("m", "TrainingArguments"), (), {"lr": 0.1})):
        assert refusal(value).check == "conversion.empty"


def test_a_bare_storage_is_refused():
    assert refusal({"t": ONE, "s": storage("0", numel=6)}).check == "conversion.storage"


# --- side content


def test_side_content_is_typed():
    assert side(None) is None
    assert side(True) is True
    assert side("text") == "text"
    assert side(-3) == -3
    assert side(0.1) == 0.1
    assert side(2**53) == {"int": "0x20000000000000"}
    assert side(MAX_SAFE_INTEGER) == MAX_SAFE_INTEGER
    assert side(math.inf) == {"float": "inf"}
    assert side(math.nan) == {"float": "nan"}
    assert side(b"\x00\xff") == {"bytes": "00ff"}
    assert side("\ud800") == {"utf16": "d800"}
    assert side((1, [2])) == {"tuple": [1, [2]]}
    assert side({}) == {"dict": {}}
    assert side({"a": {"b": 1}}) == {"dict": {"a": {"dict": {"b": 1}}}}
    assert side({1: "x", (2, 3): None}) == {"dict": [[1, "x"], [{"tuple": [2, 3]}, None]]}
    assert side({"\ud800": 1}) == {"dict": [[{"utf16": "d800"}, 1]]}
    assert side(Call(G("builtins", "set"), ([1, 2],))) == {"set": [1, 2]}
    assert side(Call(G("torch", "device"), ("cuda", 1))) == {"device": "cuda:1"}
    assert side(Call(G("torch", "Size"), ((2, 3),))) == {"tuple": [2, 3]}
    assert side(G("torch", "float32")) == {"global": ["torch", "float32"]}
    assert side(New(G("m", "C"), (1,), {"a": 2})) == {"object": ["m", "C"], "args": [1], "state": {"a": 2}}
    assert side(New(G("m", "C"))) == {"object": ["m", "C"]}


def test_only_what_is_not_tensors_is_told():
    assert named({"a": ONE, "b": [TWO]}).side == {"schema": "weighbridge.side/1", "content": {"tensors": ""}}
    content = named({"state": {"w": ONE}, "epoch": 3, "list": [ONE, 5]}).side["content"]
    assert content == {
        "dict": {"state": {"tensors": "state"}, "epoch": 3, "list": [{"tensors": "list.0"}, 5]}
    }


def test_cycles_end():
    loop = Raw(b"]q\x01h\x01a")
    assert side(loop) == [{"cycle": "a list"}]
    mutual = Raw(b"}q\x01" + emit("me") + b"h\x01s" + emit("t") + emit(ONE) + b"s")
    assert names({"a": mutual}) == ["a.t"]
    parent = Raw(b"cm\nC\n)\x81q\x02}" + emit("self") + b"h\x02s" + emit("w") + emit(ONE) + b"sb")
    assert names(parent) == ["w"]


def test_a_shared_part_is_named_at_each_place():
    shared = Raw(b"}" + emit("w") + emit(ONE) + b"sq\x07")
    value = Raw(b"](" + emit(shared) + b"h\x07e")
    found = named(value)
    assert list(found.tensors) == ["0.w", "1.w"]
    assert ties(found.tensors) == {"1.w": "0.w"}


def test_expansion_of_shared_parts_has_a_budget():
    bomb = b"]q\x00" + b"".join(
        b"](" + b"h" + bytes((n,)) + b"h" + bytes((n,)) + b"eq" + bytes((n + 1,)) for n in range(60)
    )
    value = Raw(b"(" + emit(ONE) + bomb + b"t")
    with pytest.raises(OutOfBudget) as spent:
        named(value, max_visits=100_000)
    assert spent.value.check == "conversion.budget"


def test_depth_has_a_limit_and_does_not_crash():
    for deep in (
        Raw(b"N" + b"\x85" * 100_000),
        Raw(b"]" * 300 + b"a" * 299),
        Raw(b"cm\nC\n)\x81" * 200 + b"b" * 199),
        Raw(b"}" + b"U\x01a}" * 200 + b"s" * 200),
    ):
        with pytest.raises(OutOfBudget):
            named({"t": ONE, "deep": deep})


NESTS = [
    (b"](", b"e"),
    (b"}U\x01a", b"s"),
    (b"}N", b"s"),
    (b"", b"\x85"),
    (b"cm\nC\n)\x81}U\x01a", b"sb"),
    (b"cm\nC\n", b"\x85\x81"),
]


@pytest.mark.parametrize(("before", "behind"), NESTS)
def test_everything_that_is_walked_can_be_written(before, behind):
    """The deepest nest that the walk allows is canonical JSON; one level more is told as out of budget."""
    depth = 0
    while True:
        depth += 1
        value = {"t": ONE, "deep": Raw(before * depth + b"N" + behind * depth)}
        try:
            content = named(value).side
        except OutOfBudget:
            break
        assert canonical(content)
    assert depth > 20


def test_numbers_too_long_to_print_are_neither_names_nor_a_crash():
    huge = 10**6000
    assert refusal({"x": {huge: ONE}}).check == "conversion.name"
    assert side({huge: 1}) == {"dict": [[{"int": hex(huge)}, 1]]}
    assert refusal([ONE, Call(G("torch", "device"), ("cuda", huge))]).check == "torch.argument"
    assert refusal(tensor(storage("0", numel=huge), (1,))).check == "torch.storage"
    assert refusal(tensor(storage("0", numel=6), (huge,), (1,))).check == "torch.view"


def test_side_content_has_a_budget():
    for value in ("x" * 2000, b"x" * 2000, {"k" * 2000: 1}, [1] * 2000, 2**16000, G("m" * 2000, "x")):
        with pytest.raises(OutOfBudget):
            named({"t": ONE, "x": value}, max_side=1500)


def test_the_number_of_tensors_has_a_budget():
    with pytest.raises(OutOfBudget):
        named([ONE] * 11, max_tensors=10)
    assert len(names([ONE] * 10)) == 10


def test_names_together_have_a_budget():
    with pytest.raises(OutOfBudget):
        named({"k" * 900: [ONE] * 100}, max_names=50_000)


def test_long_paths_cost_nothing():
    """A name can never be longer than its limit, so that no hostile path is built again and again."""
    value = {"k" * 2000: [[1] * 100] * 100, "t": ONE}
    assert names(value) == ["t"]
    assert refusal({"k" * 600: {"k" * 600: ONE}}).check == "conversion.name"


# --- ties


def test_ties_need_the_very_same_view():
    same = tensor(storage("0", numel=6), (6,))
    other = tensor(storage("0", numel=6), (5,))
    typed = Call(G("torch._utils", "_rebuild_tensor"), (storage("0", numel=6), 0, (6,), (1,)))
    found = named({"b": ONE, "a": same, "c": other, "d": typed, "e": tensor(storage("1", numel=6), (6,))})
    assert ties(found.tensors) == {"a": "b", "d": "b"}


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20)))
def test_aliases_come_back(aliases):
    assert read_aliases(metadata_of(aliases)) == aliases


def test_metadata_names_the_format_only():
    assert metadata_of({}) == {"format": "pt"}
    assert read_aliases({}) == {}


@pytest.mark.parametrize("text", ["", "[]", "1", '{"a":1}', '{"a":"b","a":"c"}', "{", '{"a":null}'])
def test_ill_formed_alias_maps_are_refused(text):
    with pytest.raises(ConversionRefused) as caught:
        read_aliases({"weighbridge.aliases": text})
    assert caught.value.check == "conversion.aliases"


def test_a_float_keeps_its_digits():
    value = struct.unpack(">d", struct.pack(">d", 1e-5))[0]
    assert side(value) == 1e-05
