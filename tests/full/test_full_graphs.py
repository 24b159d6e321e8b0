"""Graph and tensor formats against the libraries that write them: what they write passes, what they see, we see.

gguf, onnx and xgboost come with `make test FULL=1`. TensorFlow, SentencePiece, Flax and Pillow are too heavy for that:
their tests run where a developer has installed them.
"""

import io
import os
import random
import warnings

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.gguf import read_gguf
from weighbridge.formats.onnx import read_onnx
from weighbridge.formats.tf_graph import read_graphs
from weighbridge.scanner.engine import scan_files

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("ignore")]

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gguf
        import numpy as np
        import onnx
        import onnx.helper as make
        import xgboost
except ImportError:
    if os.environ.get("FULL") == "1":
        raise
    pytest.skip("gguf, onnx and xgboost come with `make test FULL=1`", allow_module_level=True)


def verdicts(folder):
    """Scan a folder; return its verdict and what was found."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [
        FileEntry(str(path.relative_to(folder)), path.stat().st_size, Digest.of(path.read_bytes()))
        for path in paths
    ]
    report = scan_files("m", Manifest(tuple(rows)), lambda entry: (folder / entry.path).open("rb"))
    return report.verdict, [
        (finding.location.path, finding.rule, finding.message) for finding in report.findings
    ]


CLEAN = (Verdict.CLEAN, [])


@pytest.mark.parametrize("order", ["LITTLE", "BIG"])
def test_gguf_passes(tmp_path, order):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", endianess=getattr(gguf.GGUFEndian, order))
    writer.add_token_list(["<s>", "a", "{{", "%}"])
    writer.add_token_scores([0.0, 1.0, 2.0, 3.0])
    writer.add_chat_template([{"name": "default", "template": "{{ messages[0].content }}"},
                              {"name": "tool_use", "template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}])  # fmt: skip
    writer.add_bool("x.flag", val=True)
    writer.add_tensor("a", np.ones((3, 5), np.float32))
    writer.add_tensor("b", np.ones((7,), np.float16))
    for kind in ("Q4_0", "Q5_1", "Q8_0", "BF16"):
        one = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(kind, gguf.quants.quantize(np.ones((4, 64), np.float32), one), raw_dtype=one)
    write(writer)
    assert verdicts(tmp_path) == CLEAN


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_split_gguf_passes(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    for number in range(5):
        writer.add_tensor(f"t{number}", np.ones((3, 5), np.float32))
    write(writer)
    assert len(list(tmp_path.iterdir())) == 3
    assert verdicts(tmp_path) == CLEAN


def test_each_type_of_gguf_has_the_size_that_the_library_gives():
    from weighbridge.formats.gguf import BLOCKS

    assert {int(kind): tuple(size) for kind, size in gguf.GGML_QUANT_SIZES.items()} == dict(BLOCKS)


def graph(count=4):
    rng = np.random.default_rng(5)
    tensors = [onnx.numpy_helper.from_array(rng.random((16, 16), np.float32), f"w{i}") for i in range(count)]
    nodes = [make.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(count)]
    one = make.make_graph(
        [make.make_node("Identity", ["x0"], ["z"])], "then", [], [make.make_tensor_value_info("z", 1, None)]
    )
    nodes.append(make.make_node("If", ["c"], ["y"], then_branch=one, else_branch=one))
    nodes.append(make.make_node("F", ["y"], ["q"], domain="local"))
    ends = [make.make_tensor_value_info(name, 1, ["b", 16]) for name in ("x0", "q")]
    body = make.make_graph(nodes, "g", [ends[0], make.make_tensor_value_info("c", 9, [])], [ends[1]], tensors)
    opsets = [make.make_opsetid("", 21), make.make_opsetid("local", 1)]
    function = make.make_function(
        "local", "F", ["a"], ["b"], [make.make_node("Relu", ["a"], ["b"])], opsets[:1]
    )
    return make.make_model(body, functions=[function], opset_imports=opsets, ir_version=10)


def test_onnx_passes(tmp_path):
    onnx.checker.check_model(graph())
    onnx.save(graph(), tmp_path / "plain.onnx")
    onnx.save(onnx.shape_inference.infer_shapes(graph()), tmp_path / "inferred.onnx")
    assert verdicts(tmp_path) == CLEAN


@pytest.mark.parametrize("one_file", [True, False])
def test_onnx_with_data_beside_it_passes(tmp_path, one_file):
    onnx.save(graph(), tmp_path / "m.onnx", save_as_external_data=True, all_tensors_to_one_file=one_file,
              location="m.onnx_data" if one_file else None, size_threshold=0)  # fmt: skip
    assert len(list(tmp_path.iterdir())) > 1
    assert verdicts(tmp_path) == CLEAN


def changed(data, rng):
    """Change a few bytes, or move a part of the file."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out))
        choice = rng.randrange(4)
        if choice == 0:
            out[at] = rng.randrange(256)
        elif choice == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif choice == 2:
            del out[at : at + rng.randrange(1, 9)]
        else:
            part = out[at : at + rng.randrange(1, 40)]
            where = rng.randrange(len(out))
            out[where:where] = part
    return bytes(out)


def onnx_operators(message):
    """Return each (domain, operator) that the library's own parser finds, wherever it stands."""
    found = set()
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in value if not hasattr(value, "ListFields") else (value,):
            if inner.DESCRIPTOR.name == "NodeProto":
                found.add((inner.domain, inner.op_type))
            found |= onnx_operators(inner)
    return found


def test_what_onnx_sees_we_see():
    data, rng, seen = graph().SerializeToString(), random.Random(7), 0
    for _ in range(3000):
        hostile = changed(data, rng)
        model = onnx.ModelProto()
        try:
            model.ParseFromString(hostile)
        except Exception:  # noqa: BLE001  what the library refuses is of no interest
            continue
        try:
            ours = read_onnx(io.BytesIO(hostile), len(hostile))
        except WeighbridgeError:
            continue
        if not ours.unknown:
            seen += 1
            assert onnx_operators(model) <= set(ours.operators)
    assert seen > 100


def test_what_gguf_sees_we_see(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_chat_template("{{ messages }}")
    writer.add_array("x.numbers", [1, 2, 3])
    writer.add_tensor("a", np.ones((3, 5), np.float32))
    writer.add_tensor("b", np.ones((7,), np.float16))
    write(writer)
    data, rng, seen = (tmp_path / "m.gguf").read_bytes(), random.Random(9), 0
    for _ in range(1500):
        hostile = changed(data, rng)
        try:
            ours = read_gguf(io.BytesIO(hostile), len(hostile))
        except WeighbridgeError:
            continue
        (tmp_path / "h.gguf").write_bytes(hostile)
        try:
            theirs = gguf.GGUFReader(tmp_path / "h.gguf")
        except Exception:  # noqa: BLE001  what the library refuses is of no interest
            continue
        seen += 1
        assert {name for name in theirs.fields if not name.startswith("GGUF.")} == ours.keys
        assert len(theirs.tensors) == ours.tensors
        texts = {key: raw for key, raw in ours.texts if key in theirs.fields}
        for key, raw in texts.items():
            assert bytes(theirs.fields[key].parts[-1]) == raw
    assert seen > 50


def test_xgboost_passes(tmp_path):
    rng = np.random.default_rng(3)
    inputs, labels = rng.random((60, 4)), rng.integers(0, 2, 60)
    for name, kind in (("tree", "gbtree"), ("linear", "gblinear"), ("dart", "dart")):
        model = xgboost.train({"booster": kind}, xgboost.DMatrix(inputs, labels), num_boost_round=3)
        model.save_model(tmp_path / f"{name}.ubj")
        (tmp_path / f"{name}.raw").write_bytes(model.save_raw("ubj"))
    assert verdicts(tmp_path) == CLEAN


def test_sentencepiece_passes(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    corpus = [f"{chr(97 + number % 26) * 5} hello world of {number}" for number in range(300)]
    for kind in ("unigram", "bpe", "char"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_prefix=str(tmp_path / kind), vocab_size=60, model_type=kind,
            hard_vocab_limit=False, user_defined_symbols=["<a>"], minloglevel=2,
        )  # fmt: skip
    assert verdicts(tmp_path) == CLEAN


def test_pictures_pass(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(1)
    one = image.fromarray(rng.integers(0, 255, (37, 53, 3), np.uint8))
    for mode in ("1", "L", "P", "RGB", "RGBA", "I;16"):
        one.convert(mode if mode != "I;16" else "I").convert(mode).save(
            tmp_path / f"{mode[0]}{len(mode)}.png"
        )
    for name in ("a.jpg", "a.gif", "a.webp"):
        one.save(tmp_path / name)
    one.save(tmp_path / "progressive.jpg", progressive=True)
    one.save(tmp_path / "moving.png", save_all=True, append_images=[one.rotate(90)])
    one.save(tmp_path / "moving.gif", save_all=True, append_images=[one.rotate(90)])
    assert verdicts(tmp_path) == CLEAN


def test_flax_passes(tmp_path):
    serialization = pytest.importorskip("flax.serialization")
    import jax.numpy as jnp

    state = {
        "params": {"w": jnp.ones((30, 4)), "b": jnp.ones((3,), jnp.bfloat16), "n": np.float32(2)},
        "step": 3,
    }
    (tmp_path / "flax_model.msgpack").write_bytes(serialization.to_bytes(state))
    assert verdicts(tmp_path) == CLEAN


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def module(tf, **functions):
    """Build a module with one function for each name."""
    one = tf.Module()
    one.w = tf.Variable(tf.ones([4, 3]), name="w")
    for name, (body, *signature) in functions.items():
        setattr(one, name, tf.function(body, input_signature=signature))
    return one


def test_saved_models_pass(tf, tmp_path):
    spec = tf.TensorSpec([None, 4])
    weights = tf.Variable(tf.ones([4, 3]))
    plain = module(tf, call=(lambda x: tf.nn.relu(x @ weights), spec))
    plain.weights_used = weights
    tf.saved_model.save(plain, str(tmp_path / "plain"))
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    lookup = tf.lookup.TextFileInitializer(
        str(tmp_path / "vocab.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )  # fmt: skip
    table = tf.lookup.StaticHashTable(lookup, -1)
    words = module(tf, call=(table.lookup, tf.TensorSpec([None], tf.string)))
    words.table = table
    tf.saved_model.save(words, str(tmp_path / "words"))
    keras = tf.keras.Sequential(
        [tf.keras.layers.Input((8,)), tf.keras.layers.Dense(4), tf.keras.layers.BatchNormalization()]
    )
    keras.export(str(tmp_path / "keras"), verbose=False)
    (tmp_path / "lite.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(keras).convert())
    tf.train.Checkpoint(m=plain).save(str(tmp_path / "ckpt" / "model"))
    assert verdicts(tmp_path) == CLEAN


def test_saved_models_that_act_do_not(tf, tmp_path):
    acting = {
        "python": (lambda x: tf.py_function(lambda y: y, [x], tf.float32), tf.TensorSpec([None])),
        "reads": (lambda: tf.io.read_file("/etc/hostname"),),
        "restores": (lambda: tf.raw_ops.RestoreV2(prefix="/x/y", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]),),
    }  # fmt: skip
    for name, row in acting.items():
        tf.saved_model.save(module(tf, call=row), str(tmp_path / name))
        assert verdicts(tmp_path / name)[0] is Verdict.DANGEROUS


def test_what_tensorflow_sees_we_see(tf, tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    tf.saved_model.save(module(tf, call=(tf.nn.relu, tf.TensorSpec([None, 4]))), str(tmp_path))
    data, rng, seen = (tmp_path / "saved_model.pb").read_bytes(), random.Random(3), 0
    for _ in range(400):
        hostile = changed(data, rng)
        theirs = saved_model_pb2.SavedModel()
        try:
            theirs.ParseFromString(hostile)
            ours = read_graphs(io.BytesIO(hostile), len(hostile), "SavedModel")
        except Exception:  # noqa: BLE001  what either refuses is of no interest
            continue
        if ours.unknown:
            continue
        seen += 1
        named = {node.op for one in ours.graphs for nodes in one.bodies.values() for node in nodes}
        for one in theirs.meta_graphs:
            wanted = {node.op for node in one.graph_def.node}
            wanted |= {node.op for function in one.graph_def.library.function for node in function.node_def}
            assert wanted <= named
    assert seen > 20
