"""Keras: honest archives and HDF5 files pass, code, foreign classes and files of its own choice do not."""

import io
import json
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes
from weighbridge.scanner.keras_names import names

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_hdf5 import DENSE, Forge, archive, attribute, external, message, model, newest, weights

UNLISTED, DANGEROUS, BROKEN, UNREAD, NOTES = (
    Verdict.UNLISTED, Verdict.DANGEROUS, Verdict.BROKEN, Verdict.UNREAD, Verdict.NOTES,
)  # fmt: skip


def scan(data, name="model.keras"):
    return scan_one(from_bytes(name, data, "unknown"))


def found(data, name="model.keras"):
    return {(finding.rule, finding.verdict) for finding in scan(data, name).findings}


def layer(class_name, config, module="keras.layers", **more):
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None, **more}


ADD = layer("Add", {"name": "add"}, "keras.src.ops.numpy", registered_name="Add")
OLD = {
    "class_name": "Sequential",
    "config": {"name": "s", "layers": [{"class_name": "Dense", "config": {"activation": "relu", "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}}}}]},
    "keras_version": "2.4.0", "backend": "tensorflow",
}  # fmt: skip
FUNCTIONAL = {
    "module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional",
    "config": {"layers": [
        DENSE, ADD, layer("Activation", {"activation": {"module": "builtins", "class_name": "function", "config": "softmax_v2", "registered_name": "function"}}),
        {"class_name": "__keras_tensor__", "config": {"shape": [None, 2], "dtype": "float32", "keras_history": ["a", 0, 0]}},
        layer("StringLookup", {"vocabulary": ["a", "b"]}), layer("TFOpLambda", {"function": "math.multiply"}, "keras.src.layers.core.tf_op_layer", registered_name="TFOpLambda"),
        layer("Functional", {}, "keras.engine.functional", registered_name="Functional"),
        {"class_name": "__typespec__", "spec_name": "TensorSpec", "module": "tensorflow.python.framework.tensor_spec", "config": [[1], "float32"], "registered_name": None},
    ]},
    "compile_config": {"optimizer": layer("Adam", {"learning_rate": 0.1}, "keras.optimizers"), "loss": "mse", "metrics": ["accuracy"]},
}  # fmt: skip


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


BAD = [
    (layer("Lambda", {"function": {"class_name": "__lambda__", "config": {"value": "4wEA"}}}), ("keras-code", DANGEROUS)),
    (layer("Lambda", {"function": ["4wEA", None, None], "function_type": "lambda"}, None), ("keras-code", DANGEROUS)),
    (layer("Lambda", {"function": "f", "output_shape": ["4wEA", None, None]}), ("keras-code", DANGEROUS)),
    (layer("Lambda", {"function": "mine", "function_type": "function"}), ("keras-class", UNLISTED)),
    (layer("Dense", {"activation": {"class_name": "__lambda__", "config": {}}}), ("keras-code", DANGEROUS)),
    (layer("TorchModuleWrapper", {"module": "gAJ9Lg=="}), ("keras-code", DANGEROUS)),
    (layer("TFSMLayer", {"filepath": "assets/x"}), ("keras-path", DANGEROUS)),
    (layer("StringLookup", {"vocabulary": "/etc/passwd"}), ("keras-path", DANGEROUS)),
    (layer("TextVectorization", {"vocabulary": "http://203.0.113.9/x"}), ("keras-path", DANGEROUS)),
    (layer("IntegerLookup", {"vocabulary": "a/../../x"}), ("keras-path", DANGEROUS)),
    (layer("StringLookup", {"vocabulary": "vocabulary.txt"}), ("keras-path", UNLISTED)),
    (layer("Dense", {"activation": function("os", "system")}), ("keras-code", DANGEROUS)),
    (layer("run", {"args": ["x"]}, "subprocess"), ("keras-code", DANGEROUS)),
    (layer("Dense", {"activation": function("keras.utils", "get_file")}), ("keras-code", DANGEROUS)),
    (layer("Dense", {"activation": function("keras.src.utils.file_utils", "get_file")}), ("keras-code", DANGEROUS)),
    (layer("Dense", {"activation": function("keras.config", "enable_unsafe_deserialization")}), ("keras-code", DANGEROUS)),
    (layer("Mine", {}, "my_package", registered_name="my_package>Mine"), ("keras-class", UNLISTED)),
    (layer("Dense", {}, "keras.layers", registered_name="other>Dense"), ("keras-class", UNLISTED)),
    (layer("Mine", {}, None), ("keras-class", UNLISTED)),
    (layer("dense", {}), ("keras-class", UNLISTED)),
    (layer("GemmaTokenizer", {"proto": "/etc/passwd"}, "keras_hub.src.models.gemma.gemma_tokenizer", registered_name="keras_hub>GemmaTokenizer"), ("keras-path", DANGEROUS)),
    (layer("Mine", {}, "keras_hub.src.models.mine", registered_name="keras_hub>Mine"), ("keras-class", UNLISTED)),
    (layer("GemmaBackbone", {}, "keras_hub.src.models.gemma.gemma_backbone", registered_name="mine>GemmaBackbone"), ("keras-class", UNLISTED)),
    (layer("Dense", {}, "keras.layers", registered_name="keras_hub>Dense"), ("keras-class", UNLISTED)),
    (layer("Dense", {}, "keras.layers.x"), ("keras-class", UNLISTED)),
    (layer("Dense", {}, "evil"), ("keras-class", UNLISTED)),
    (layer("JaxLayer", {"call_fn": "x"}), ("keras-class", UNLISTED)),
    (layer("TFOpLambda", {"function": "io.read_file"}), ("keras-class", UNLISTED)),
    (layer("TensorFlowOpLayer", {"node_def": "x"}), ("keras-class", UNLISTED)),
    ({"class_name": ["Dense"], "config": {}}, ("keras-class", UNLISTED)),
    ({"class_name": "__typespec__", "spec_name": "X", "module": "os", "config": []}, ("keras-class", UNLISTED)),
]  # fmt: skip


HUB = layer(
    "GemmaBackbone",
    {"vocabulary_size": 4},
    "keras_hub.src.models.gemma.gemma_backbone",
    registered_name="keras_hub>GemmaBackbone",
)
NLP = layer(
    "GemmaTokenizer",
    {"proto": None},
    "keras_nlp.src.models.gemma.gemma_tokenizer",
    registered_name="keras_nlp>GemmaTokenizer",
)


@pytest.mark.parametrize("config", [model(DENSE), FUNCTIONAL, OLD, HUB, NLP])
def test_honest_models_pass_in_every_container(config):
    assert scan(archive(config)).kind == "keras"
    assert found(archive(config)) == set()
    assert found(archive(config, [("assets/layers/string_lookup/vocabulary.txt", "a\nb")])) == set()
    assert found(weights(config=config), "model.h5") == set()
    assert found(json.dumps(config).encode(), "model.json") == set()


@pytest.mark.parametrize(("bad", "expected"), BAD)
def test_what_loading_would_run_or_read_is_found_in_every_container(bad, expected):
    assert expected in found(archive(model(DENSE, bad)))
    assert expected in found(weights(config=model(bad)), "model.h5")
    assert found(json.dumps({"a": [bad]}).encode(), "whatever.txt") == {expected}


def test_a_model_under_another_name_and_with_escaped_keys_is_found():
    text = json.dumps(model(BAD[0][0])).replace("class_name", "\\u0063lass_name")
    assert ("keras-code", DANGEROUS) in found(text.encode(), "notes")


@pytest.mark.parametrize("name", ["x.py", "weights.bin", "assets2/x"])
def test_a_member_that_keras_has_no_use_for_is_found(name):
    assert ("keras-layout", UNLISTED) in found(archive(model(DENSE), [(name, "import os")]))


def test_members_are_judged_by_their_content():
    class Evil:
        def __reduce__(self):
            return print, ("never run",)

    assert ("pickle-unlisted", UNLISTED) in found(archive(model(DENSE), [("assets/x", pickle.dumps(Evil()))]))
    assert ("hdf5-elsewhere", DANGEROUS) in found(archive(model(DENSE), h5=weights(external())))


def test_an_archive_without_the_names_of_keras_is_a_plain_one():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("config.json", "{}")
    assert scan(out.getvalue()).kind == "zip"


def hole(data):
    """A file with `data` between two objects."""
    forge = Forge()
    one = forge.dataset(bytes(16))
    forge.put(data)
    return forge.finish(forge.group({"a": one}))


def test_what_lies_between_the_objects_is_looked_at():
    assert found(hole(bytes(100_000)), "a.h5") == set()
    assert found(hole(b"stale"), "a.h5") == set()
    assert found(hole(b"x" * 5000), "a.h5") == {("hdf5-hidden", BROKEN)}
    assert found(hole(b"cos\nsystem\n(S'x'\ntR."), "a.h5") == {("hdf5-hidden", BROKEN)}
    assert found(hole(b"#!/bin/sh\nx"), "a.h5") == {("hdf5-hidden", BROKEN)}
    assert found(hole(b"\x7fELF" + bytes(60)), "a.h5") == {("hdf5-hidden", BROKEN)}


def rooted(*messages, children=None):
    forge = Forge()
    return forge.finish(forge.group(children or {}, *messages))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (rooted(children={"a": "/b"}), ("hdf5-link", NOTES)),
        (rooted(message(0xB, struct.pack("<BB6xHHHH", 1, 1, 999, 0, 0, 0))), ("hdf5-plugin", UNLISTED)),
        (weights() + b"x", ("hdf5-broken", BROKEN)),
        (bytes(512) + weights(), ("hdf5-broken", BROKEN)),
        (weights()[:-9], ("hdf5-broken", BROKEN)),
        (rooted(attribute("model_config", b'{"class_name": "x", "class_name": 1}')), ("hdf5-broken", BROKEN)),
        (rooted(attribute("x", b"cos\nsystem\n(S'x'\ntR.")), ("pickle-call", DANGEROUS)),
        (rooted(attribute("x", b"cos\nsystem\n(S'x'\ntR.")), ("hdf5-pickle", UNLISTED)),
        (rooted(attribute("PSEUDOATOM", b"object")), ("hdf5-pickle", UNLISTED)),
        (rooted(message(2, bytes(18))), ("hdf5-unread", UNREAD)),
    ],
)
def test_hdf5_that_is_not_plain_weights_is_found(data, expected):
    assert expected in found(data, "a.h5")


def test_plain_weights_pass():
    assert found(weights(), "model.weights.h5") == set()
    assert found(newest(), "model.weights.h5") == set()


def test_the_list_holds_no_class_that_acts():
    table = names()
    for name in ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "ModelCheckpoint"):
        assert name not in table.any_class
    for name in ("get_file", "load_model", "map", "custom_gradient", "deserialize", "while_loop"):
        assert name not in table.any_function


LAMBDA = json.dumps(BAD[0][0]).encode()


@pytest.mark.parametrize(
    "text",
    [
        LAMBDA,
        b" " * 300 + LAMBDA,
        LAMBDA.replace(b"Lambda", b"Lambda", 1).replace(b'"config"', b'"x": "\x7f", "config"', 1),
        LAMBDA.replace(b'"config"', b'"x": "\xff", "config"', 1),
        LAMBDA.replace(b"class_name", b"\\u0063lass_name"),
    ],
)
def test_a_configuration_is_judged_however_it_is_spelled(text):
    forge = Forge()
    data = forge.finish(forge.group({}, forge.long_text("anything", text)))
    assert ("keras-code", DANGEROUS) in found(data, "a.h5")
    assert ("keras-code", DANGEROUS) in found(rooted(attribute("anything", text)), "a.h5")


def test_an_attribute_of_a_shared_type_is_unread():
    body = struct.pack("<BBHHHB", 3, 1, 2, 10, 8, 0) + b"a\0" + bytes(18)
    assert found(rooted(message(0xC, body)), "a.h5") == {("hdf5-unread", UNREAD)}
    assert found(rooted(message(0xC, bytes(10), flags=2)), "a.h5") == {("hdf5-unread", UNREAD)}
