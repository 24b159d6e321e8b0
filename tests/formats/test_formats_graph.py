"""The symbolic graph machine: what it builds, what it refuses by label and offset, and that nothing is ever run."""

import contextlib
import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import ConversionRefused, OutOfBudget
from weighbridge.formats.pickle_graph import DictNode, Global, GraphLimits, Opaque, SetNode, read_graph
from weighbridge.formats.torch_values import CALLS


def graph(data, **options):
    return read_graph(data, calls=CALLS, **options).root


def refusal(data, **options):
    with pytest.raises(ConversionRefused) as caught:
        graph(data, **options)
    return caught.value


def plain(value):
    """Turn nodes back into what was pickled."""
    if isinstance(value, DictNode):
        return {plain(key): plain(item) for key, item in value.items}
    if isinstance(value, SetNode):
        made = {plain(item) for item in value.items}
        return frozenset(made) if value.label == "frozenset" else made
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    return value


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(max_size=300)
)
keys = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(keys, inner), st.sets(st.integers())
    ),
)


@given(trees, st.integers(2, 5))
def test_plain_values_come_back_as_they_were(value, protocol):
    if protocol == 2:
        value = without_bytes(value)  # written as a call of _codecs.encode, which is refused
    data = pickle.dumps(value, protocol=protocol)
    assert plain(graph(data)) == value


def without_bytes(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: without_bytes(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(without_bytes(item) for item in value)
    return value


@pytest.mark.parametrize("protocol", [0, 1])
def test_old_protocols(protocol):
    value = {"a": [1, 2.5, -(2**70), None, True, ("x", "ü\n")], "b": {}}
    assert plain(graph(pickle.dumps(value, protocol=protocol))) == value


CALLS_SYSTEM = {
    "reduce": b"\x80\x02cposix\nsystem\nU\x04true\x85R.",
    "reduce-popped": b"\x80\x02cposix\nsystem\nU\x04true\x85R0N.",
    "stack-global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "instance": b"(S'true'\niposix\nsystem\n.",
    "object": b"(cposix\nsystem\nS'true'\no.",
    "object-popped": b"(cposix\nsystem\nS'true'\no0N.",
    "newobj-ex": b"\x80\x04cposix\nsystem\n)}\x92.",
    "extension": b"\x80\x02\x82\x01.",
    "extension-2": b"\x80\x02\x83\x01\x00.",
    "extension-4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "persistent-text": b"Pposix\n.",
    "getattr": b"cbuiltins\ngetattr\n(cposix\nsystem\nS'__call__'\ntR.",
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "near-name": b"ctorch\n_utils._rebuild_tensor_v2\n)R.",
    "other-module": b"ccollections.abc\nOrderedDict\n)R.",
    "called-object": b"cposix\nsystem\n)\x81)R.",
    "called-text": b"S'posix.system'\n)R.",
    "arguments-are-a-list": b"ccollections\nOrderedDict\n]R.",
    "build-on-dict": b"}}b.",
    "build-on-list": b"]}b.",
    "build-on-global": b"cposix\nsystem\n}b.",
    "build-twice": b"ca\nB\n)\x81}b}b.",
    "buffer": b"\x80\x05\x97.",
    "bytearray": b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.",
    "newobj-of-text": b"S'posix'\n)\x81.",
    "items-on-a-set": b"\x8fK\x01K\x02s.",
    "append-to-a-dict": b"}K\x01a.",
    "add-to-a-list": b"](K\x01\x90.",
}


@pytest.mark.parametrize("case", CALLS_SYSTEM)
def test_what_is_not_tensors_is_refused(case):
    error = refusal(CALLS_SYSTEM[case])
    assert error.check.startswith("graph.")
    assert "(offset " in error.problem


def test_a_refused_call_names_label_and_offset():
    error = refusal(CALLS_SYSTEM["reduce"])
    assert "posix.system" in error.problem
    assert "(offset 23)" in error.problem
    assert error.check == "graph.call"


COMPUTED = [
    b"\x80\x04\x8c\x01a\x85\x8c\x06system\x93.",  # a tuple for a module
    b"\x80\x04\x43\x05posix\x8c\x06system\x93.",  # bytes for a module
    b"\x80\x04\x8c\x05posix\x4b\x01\x93.",  # a number for a name
    b"\x80\x04ca\nb\n)\x81\x8c\x06system\x93.",  # an object for a module
]


@pytest.mark.parametrize("data", COMPUTED)
def test_the_name_of_a_global_must_be_written_down(data):
    assert refusal(data).check == "graph.global"


def test_a_global_is_a_label_and_imports_nothing():
    assert "this_module_is_nowhere" not in sys.modules
    assert graph(b"cthis_module_is_nowhere\nThing\n.") == Global("this_module_is_nowhere", "Thing")
    before = set(sys.modules)
    assert graph(b"cantigravity\nfly\n.") == Global("antigravity", "fly")
    assert set(sys.modules) == before


def test_an_object_stays_opaque_with_its_state():
    node = graph(b"\x80\x02cmy.models\nNet\n(K\x07t\x81}U\x01xK\x05sb.")
    assert isinstance(node, Opaque)
    assert str(node.label) == "my.models.Net"
    assert node.args == (7,)
    assert plain(node.state) == {"x": 5}


def test_cycles_are_built_and_do_not_recurse():
    loop = []
    loop.append({"me": loop})
    node = graph(pickle.dumps(loop, protocol=2))
    assert node[0].items[0][1] is node


def test_nesting_very_deep_is_no_crash():
    data = b"\x80\x02" + b"N" + b"\x85" * 200_000 + b"."
    assert isinstance(graph(data), tuple)
    assert isinstance(graph(b"\x80\x02" + b"(" * 500_000 + b"t" * 500_000 + b"."), tuple)


METADATA = b"\x80\x02ccollections\nOrderedDict\n)R}U\x09_metadata%ssb."


def test_version_metadata_of_a_state_dict_is_let_through_and_nothing_else():
    assert isinstance(graph(METADATA % b"}U\x00}U\x07versionK\x01ss"), DictNode)
    for state in (b"}U\x00}U\x07versioncposix\nsystem\nss", b"]", b"}U\x00]s", b"}K\x01}s"):
        assert refusal(METADATA % state).check == "graph.build"
    other = b"\x80\x02ccollections\nOrderedDict\n)R}U\x09__class__cposix\nsystem\nsb."
    assert refusal(other).check == "graph.build"


MALFORMED = {
    "empty": b"",
    "no-stop": b"\x80\x02N",
    "underflow": b"0.",
    "stop-on-nothing": b".",
    "left-over": b"NN.",
    "mark-left": b"N(N.",
    "no-mark": b"Nt.",
    "below-the-mark": b"N(\x85.",
    "unset-memo": b"h\x07.",
    "odd-items": b"}(K\x01u.",
    "unknown-opcode": b"\xff.",
    "short-string": b"X\xff\x00\x00\x00a.",
    "protocol-9": b"\x80\x09N.",
    "stack-below-mark": b"K\x01K\x02(\x86.",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_pickles_are_refused(case):
    assert refusal(MALFORMED[case]).check == "graph.malformed"


def test_budgets_are_kept():
    for data, limits in (
        (b"]" * 2000, GraphLimits(max_nodes=1000)),
        (b"K\x01" * 2000, GraphLimits(max_nodes=1000)),
        (b"(" * 2000, GraphLimits(max_nodes=1000)),
        (b"N2" + b"2" * 2000, GraphLimits(max_nodes=1000)),
        (b"N" + b"q\x01" * 2000, GraphLimits(max_nodes=1000)),
        (b"N0" * 1000, GraphLimits(max_opcodes=1000)),
        (b"\x80\x02" * 1001, GraphLimits(max_opcodes=1000)),
    ):
        with pytest.raises(OutOfBudget) as spent:
            graph(data, limits=limits)
        assert spent.value.check == "graph.budget"


def test_the_limit_itself_is_allowed():
    assert graph(b"N0N.", limits=GraphLimits(max_opcodes=4)) is None
    with pytest.raises(OutOfBudget):
        graph(b"N0N.", limits=GraphLimits(max_opcodes=3))


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_graph_or_a_refusal(data):
    with contextlib.suppress(ConversionRefused, OutOfBudget):
        read_graph(b"\x80\x02" + data, calls=CALLS, limits=GraphLimits(max_nodes=10_000))


@given(st.data())
def test_any_flipped_byte_ends_in_a_graph_or_a_refusal(data):
    good = bytearray(pickle.dumps({"a": [1, (2, "x"), {"y": b"z"}, {3}], "b": 1.5}, protocol=4))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ConversionRefused, OutOfBudget):
        read_graph(bytes(good), calls=CALLS, limits=GraphLimits(max_nodes=10_000))
