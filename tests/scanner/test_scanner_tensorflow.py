"""The rules on TensorFlow: honest models pass with their saving functions, paths of the model's choice do not."""

import io
import json
import sys
from pathlib import Path

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files, scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import (
    TRACED_SAVE,
    bundle,
    pb,
    saved_model,
    saved_model_seeds,
    sentencepiece,
    tf_attr,
    tf_call,
    tf_const,
    tf_function,
    tf_graph,
    tf_node,
)


def found(data, name="saved_model.pb"):
    part = scan_one(from_bytes(name, data, "unknown"))
    return {(finding.rule, finding.verdict) for finding in part.findings}


def subjects(data):
    return {finding.subject for finding in scan_one(from_bytes("x", data, "unknown")).findings}


CODE = ("tensorflow-code", Verdict.DANGEROUS)
FILES = ("tensorflow-files", Verdict.DANGEROUS)
UNLISTED = ("tensorflow-unlisted", Verdict.UNLISTED)
UNREAD = ("tensorflow-unread", Verdict.UNREAD)
BROKEN = ("tensorflow-broken", Verdict.BROKEN)


@pytest.mark.parametrize("data", saved_model_seeds())
def test_honest_models_pass(data):
    assert found(data) == set()


@pytest.mark.parametrize(
    ("op", "rule"),
    [("PyFunc", CODE), ("EagerPyFunc", CODE), ("XlaCustomCall", CODE), ("DatasetFromGraph", CODE), ("ReadFile", FILES),
     ("WriteFile", FILES), ("TFRecordDatasetV2", FILES), ("SqlDataset", FILES), ("DebugIdentityV3", FILES), ("ImmutableConst", FILES), ("DeserializeIterator", CODE),
     ("Unheard", UNLISTED), ("RpcClient", UNLISTED), ("_Send", UNLISTED), ("relu", UNLISTED)],
)  # fmt: skip
def test_operators_are_judged_by_exact_name(op, rule):
    node = tf_node("n", op, "x")
    assert found(saved_model(tf_node("x", "Placeholder"), node)) == {rule}
    assert found(saved_model(functions=(tf_function("f", ("x",), node),))) == {rule}
    assert found(tf_graph(tf_node("x", "Placeholder"), node), "frozen.pb") == {rule}


def test_an_operator_may_be_a_function_of_the_model():
    function = tf_function("Unheard", ("x",), tf_node("n", "Relu", "x"))
    assert found(saved_model(tf_node("n", "Unheard", "x"), functions=(function,))) == set()


@pytest.mark.parametrize("op", ["SaveV2", "RestoreV2", "Restore", "SaveSlices"])
@pytest.mark.parametrize(
    "path",
    [
        b"/etc/passwd",
        b"../x",
        b"a/../../b",
        b"http://x",
        b"C:\\x",
        b"gs://bucket/x",
        b"a/.",
        b"./b",
        b"/part/x",
        b"a\n",
    ],
)
def test_a_path_of_the_models_choice_is_dangerous(op, path):
    nodes = (tf_const("c", path), tf_node("n", op, "c"))
    assert found(saved_model(*nodes)) == {FILES}
    assert found(saved_model(functions=(tf_function("f", ("x",), *nodes),))) == {FILES}
    joined = (tf_const("c", path), tf_node("j", "StringJoin", "x", "c"), tf_node("n", op, "j:output:0"))
    assert found(saved_model(functions=(tf_function("f", ("x",), *joined),))) == {FILES}


@pytest.mark.parametrize(
    "maker",
    [
        "ReadVariableOp",
        "VariableV2",
        "LookupTableExportV2",
        "DecodeBase64",
        "StringFormat",
        "Substr",
        "ReadVariableOp2",
        "AsString",
    ],
)
def test_a_path_that_is_computed_is_dangerous(maker):
    nodes = (tf_const("c", b"x"), tf_node("m", maker, "c"), tf_node("n", "SaveV2", "m"))
    assert FILES in found(saved_model(*nodes))


def test_whoever_calls_the_saving_function_may_not_choose_either():
    assert found(saved_model(tf_const("c", b"/etc/.bashrc"), tf_call("s", "__inference__traced_save", "c", "c"),
                             functions=(TRACED_SAVE,))) == {FILES}  # fmt: skip
    outer = tf_function(
        "outer", ("a",), tf_const("c", b"/etc/x"), tf_call("s", "__inference__traced_save", "c", "a")
    )
    assert found(saved_model(functions=(TRACED_SAVE, outer))) == {FILES}
    middle = tf_function("middle", ("p", "w"), tf_call("s", "__inference__traced_save", "p", "w"))
    caller = (tf_const("c", b"/etc/x"), tf_call("m", "middle", "c", "c"))
    assert found(saved_model(*caller, functions=(middle, TRACED_SAVE))) == {FILES}
    fine = (tf_const("long", b"/etc/x"), tf_node("x", "Placeholder"), tf_call("m", "middle", "x", "long"))
    assert found(saved_model(*fine, functions=(middle, TRACED_SAVE))) == set()


def test_calls_of_other_forms_are_followed_whole():
    nodes = (
        tf_const("c", b"/etc/x"),
        tf_node("x", "Placeholder"),
        tf_call("w", "__inference__traced_save", "x", "c", op="While"),
    )
    assert found(saved_model(*nodes, functions=(TRACED_SAVE,))) == {FILES}


def test_a_table_may_be_filled_from_an_asset_only():
    table = tf_node("t", "HashTableV2")
    init = tf_node("i", "InitializeTableFromTextFileV2", "t", "c")
    path = tf_const("c", b"/etc/passwd")
    assert found(saved_model(table, path, init)) == {FILES}
    assert found(saved_model(table, path, init, assets=(("c:0", "vocab.txt"),))) == set()
    assert found(saved_model(table, path, init, assets=(("d:0", "vocab.txt"),))) == {FILES}
    assert found(saved_model(assets=(("c:0", "../../x"),))) == {FILES}


def test_an_asset_is_read_when_the_model_is_loaded_and_at_no_other_time():
    nodes = (
        tf_node("t", "HashTableV2"),
        tf_const("c", b"/etc/passwd"),
        tf_node("i", "InitializeTableFromTextFileV2", "t", "c"),
    )
    asset = (("c:0", "vocab.txt"),)
    assert found(saved_model(*nodes, tf_node("init", "NoOp", "^i"), assets=asset)) == set()
    assert found(saved_model(*nodes, tf_node("y", "LookupTableSizeV2", "t", "^i"), assets=asset)) == {FILES}
    group = (tf_node("init", "NoOp", "^i"), tf_node("y", "LookupTableSizeV2", "t", "^init"))
    assert found(saved_model(*nodes, *group, assets=asset)) == {FILES}


def through_a_variable(*more, functions=(), value="a"):
    """The path of an asset goes through a variable, as TensorFlow 2 writes it."""
    nodes = (
        tf_node("a", "Placeholder"), tf_const("c", b"/etc/passwd"), tf_node("v", "VarHandleOp"), tf_node("t", "HashTableV2"),
        tf_node("set", "AssignVariableOp", "v", value), tf_node("r", "ReadVariableOp", "v", "^set"),
        tf_node("i", "InitializeTableFromTextFileV2", "t", "r"), tf_node("init", "NoOp", "^i"),
    )  # fmt: skip
    return saved_model(*nodes, *more, functions=functions, assets=(("a:0", "vocab.txt"),))


def test_a_path_may_go_through_a_variable_that_nothing_else_sets():
    assert found(through_a_variable()) == set()
    assert found(through_a_variable(value="c")) == {FILES}
    assert found(through_a_variable(tf_node("again", "AssignVariableOp", "v", "c"))) == {FILES}
    taken = tf_function("f", ("v",), tf_node("n", "Relu", "v"))
    assert found(through_a_variable(tf_call("call", "f", "v"), functions=(taken,))) == {FILES}
    twin = tf_node("other", "VarHandleOp", attrs=(tf_attr("shared_name", pb((2, "v"))),))
    assert found(through_a_variable(twin)) == {FILES}
    assert found(through_a_variable(functions=(tf_function("f", (), tf_node("v", "VarHandleOp")),))) == {
        FILES
    }


def test_an_asset_is_no_place_to_write_to():
    nodes = (tf_const("c", b"/etc/passwd"), tf_node("s", "SaveV2", "c"))
    assert found(saved_model(*nodes, assets=(("c:0", "vocab.txt"),))) == {FILES}


def test_print_writes_to_the_terminal_only():
    def printing(stream):
        return saved_model(tf_node("p", "PrintV2", "x", attrs=(tf_attr("output_stream", pb((2, stream))),)))

    assert found(printing("stderr")) == set()
    assert found(printing("file:///etc/.profile")) == {FILES}


def keras(config):
    metadata = json.dumps(
        {"class_name": "Sequential", "name": "s", "config": {"name": "s", "layers": [config]}}
    )
    return pb((1, pb((2, 1), (3, "root"), (4, "_tf_keras_layer"), (5, metadata), (6, pb((1, 1))))))


LAMBDA = {
    "class_name": "Lambda",
    "config": {"name": "l", "function": ["4wEAAAA=", None, None], "function_type": "lambda"},
}


def test_code_that_keras_carries_is_dangerous():
    dense = {"class_name": "Dense", "config": {"name": "d", "units": 3}}
    assert found(keras(dense), "keras_metadata.pb") == set()
    assert ("keras-code", Verdict.DANGEROUS) in found(keras(LAMBDA), "keras_metadata.pb")
    objects = pb((1, pb((4, pb((1, "_tf_keras_layer"), (3, json.dumps(LAMBDA)))))))
    assert ("keras-code", Verdict.DANGEROUS) in found(
        saved_model(tf_node("x", "Placeholder"), extra=((7, objects),))
    )


def test_unknown_fields_are_unread():
    assert found(saved_model(extra=((99, "x"),))) == {UNREAD}


@pytest.mark.parametrize(
    "data",
    [
        saved_model(tf_node("x", "Placeholder") + pb((2, "PyFunc"))),
        saved_model(pb((1, "x"), (2, 7))),
        saved_model(pb((1, "x"), (2, b"\xff"))),
    ],
)
def test_what_the_wire_does_not_allow_is_broken(data):
    assert found(data) == {BROKEN}


def test_a_fingerprint_holds_numbers_and_one_name():
    assert found(pb((1, 1), (2, 2), (7, "a\nb"))) == {BROKEN}
    assert found(pb((1, 1), (2, 2), (6, pb((9, 1))))) == {UNREAD}


def scanned(**files):
    named = {name.replace("__", "/").replace("_dot_", "."): data for name, data in files.items()}
    named = {name.replace("DATA", "v.data-00000-of-00001"): data for name, data in named.items()}
    rows = tuple(FileEntry(path, len(data), Digest.of(data)) for path, data in sorted(named.items()))
    report = scan_files("m", Manifest(rows), lambda entry: io.BytesIO(named[entry.path]))
    return {(finding.rule, finding.verdict) for finding in report.findings}


RAW = b"\xff\xfe\0\1" * 16
INDEX = bundle((b"a", 0, 32), (b"b", 32, 32))


def test_checkpoints_are_accounted_for():
    assert scanned(a__v_dot_index=INDEX, a__DATA=RAW) == set()
    assert scanned(v_dot_index=INDEX, DATA=RAW + b"loose") == {BROKEN}
    assert BROKEN in scanned(v_dot_index=INDEX, DATA=RAW[:-1])
    assert scanned(v_dot_index=bundle((b"a", 0, 16), (b"b", 32, 32)), DATA=RAW) == {BROKEN}
    assert scanned(v_dot_index=INDEX) == {UNREAD}
    assert ("unread-format", Verdict.UNREAD) in scanned(DATA=RAW)


@pytest.mark.parametrize(
    ("check", "data"),
    [
        ("tensorflow.cover", INDEX[:-48] + b"loose" + INDEX[-48:]),
        ("tensorflow.block", INDEX[:-48] + b"\xff\xff\x7f" + INDEX[-45:]),
        ("tensorflow.duplicate", bundle((b"a", 0, 1), (b"a", 1, 1))),
        ("tensorflow.entry", bundle((b"a", 0, 1), shards=0)),
        ("tensorflow.entry", bundle((b"a", -1, 1))),
        ("tensorflow.footer", INDEX[:-10] + b"\1" + INDEX[-9:]),
    ],
)
def test_a_damaged_index_is_broken(check, data):
    assert check in subjects(data)


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (pb((1, 1), (2, pb((1, pb((5, "2.21.0")))))), "MetaGraphDef graph_def"),
        (saved_model(pb((1, "x"))), "NodeDef op"),
        (saved_model(pb((2, "Relu"))), "NodeDef name"),
    ],
)
def test_what_every_loader_asks_for_is_there(data, missing):
    assert BROKEN in found(data)
    assert f"missing {missing}" in subjects(data)


def test_a_tokenizer_has_pieces_and_says_how_texts_are_read():
    whole = sentencepiece()
    assert found(whole, "spiece.model") == set()
    trainer = whole.index(b"\x12", whole.index("▁a".encode()) + 8)
    assert found(whole[:trainer], "spiece.model")
    normalizer = whole.rindex(b"\x1a", 0, whole.index(b"nmt_nfkc"))
    assert "missing ModelProto normalizer_spec" in subjects(whole[:normalizer])
