"""Files of formats without pickles: safetensors, GGUF, ONNX, HDF5, skops, tokenizers."""
# ruff: noqa: N806  graphs name their values in capitals

import gguf
import h5py
import numpy as np
import onnx
import safetensors.numpy
import safetensors.torch
import sentencepiece
import skops.io
import tokenizers
import torch
from honest.catalogue import SEED, TEMPLATE, Shelf
from onnx import TensorProto, helper, numpy_helper
from sklearn import datasets, ensemble, linear_model, pipeline, preprocessing


def weights():
    """Return a few named arrays."""
    rng = np.random.default_rng(SEED)
    return {
        "layer.weight": rng.random((4, 3)).astype("f4"),
        "layer.bias": np.zeros(4, "f4"),
        "ids": np.arange(5),
    }


def safetensors_files(folder):
    """Write safetensors through numpy and torch."""
    shelf = Shelf(folder, "safetensors")
    torches = {name: torch.from_numpy(value.copy()) for name, value in weights().items()}
    kinds = (
        "float16",
        "bfloat16",
        "float64",
        "int8",
        "uint8",
        "bool",
        "int16",
        "int32",
        "int64",
        "float8_e4m3fn",
        "float8_e5m2",
        "uint16",
        "uint32",
        "uint64",
        "complex64",
    )
    ones = {kind: torch.ones(3, 5).to(getattr(torch, kind)) for kind in kinds}
    numpy_file, torch_file = safetensors.numpy.save_file, safetensors.torch.save_file
    shelf.add("numpy.safetensors", "numpy", lambda p: numpy_file(weights(), p))
    shelf.add(
        "torch.safetensors",
        "torch, with metadata",
        lambda p: torch_file(torches, p, metadata={"format": "pt"}),
    )
    shelf.add("dtypes.safetensors", "torch, every dtype", lambda p: torch_file(ones, p))
    shelf.add("empty.safetensors", "no tensors", lambda p: numpy_file({}, p))
    shelf.add(
        "shapes.safetensors",
        "scalars and empty tensors",
        lambda p: torch_file({"a": torch.tensor(1.0), "b": torch.empty(0, 3)}, p),
    )
    shelf.add("large.safetensors", "8 MB", lambda p: torch_file({"w": torch.zeros(2048, 1024)}, p))
    tied = torch.nn.Linear(3, 3)
    shelf.add("model.safetensors", "save_model", lambda p: safetensors.torch.save_model(tied, str(p)))
    return shelf


def gguf_files(folder):
    """Write GGUF with the writer of llama.cpp's own package."""
    shelf = Shelf(folder, "gguf")

    def llama(path, *, quantized=None, template=TEMPLATE):
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name("small")
        writer.add_context_length(128)
        writer.add_embedding_length(32)
        writer.add_block_count(1)
        writer.add_feed_forward_length(64)
        writer.add_head_count(2)
        writer.add_rope_freq_base(10000.0)
        writer.add_tokenizer_model("llama")
        writer.add_token_list([b"<unk>", b"<s>", b"</s>", "ä".encode(), b"word"])
        writer.add_token_scores([0.0, 0.0, 0.0, -1.0, -2.0])
        writer.add_token_types([2, 3, 3, 1, 1])
        writer.add_bos_token_id(1)
        writer.add_add_bos_token(True)
        if template:
            writer.add_chat_template(template)
        data = np.random.default_rng(SEED).random((8, 256)).astype("f4")
        writer.add_tensor("output_norm.weight", np.ones(32, "f4"))
        if quantized is None:
            writer.add_tensor("token_embd.weight", data)
        else:
            writer.add_tensor("token_embd.weight", gguf.quants.quantize(data, quantized), raw_dtype=quantized)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    kinds = gguf.GGMLQuantizationType
    shelf.add("f32.gguf", "floats and a chat template", llama)
    for kind in (kinds.F16, kinds.Q8_0, kinds.Q4_0, kinds.Q5_1, kinds.BF16):
        shelf.add(f"{kind.name.lower()}.gguf", f"{kind.name}", lambda p, k=kind: llama(p, quantized=k))
    shelf.add("no-template.gguf", "no chat template", lambda p: llama(p, template=None))

    def vocabulary(path):
        writer = gguf.GGUFWriter(path, "bert")
        writer.add_array("general.tags", ["a", "b"])
        writer.add_uint64("some.count", 2**40)
        writer.add_bool("some.flag", val=True)
        writer.add_array("some.nested", [[1, 2], [3]])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    shelf.add("only-keys.gguf", "keys without tensors", vocabulary)
    return shelf


def onnx_model():
    """Return a graph of the everyday operators."""
    W = numpy_helper.from_array(weights()["layer.weight"].T.copy(), "W")
    B = numpy_helper.from_array(weights()["layer.bias"], "B")
    nodes = [
        helper.make_node("Gemm", ["X", "W", "B"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Softmax", ["r"], ["Y"], axis=-1),
    ]
    X = helper.make_tensor_value_info("X", TensorProto.FLOAT, ["batch", 3])
    Y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "small", [X], [Y], [W, B])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests")
    onnx.checker.check_model(model)
    return model


def branching():
    """Return a graph with a branch, whose bodies are graphs themselves."""

    def body(name, value):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        constant = helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(np.array([value], "f4"))
        )
        return helper.make_graph([constant], name, [], [out])

    node = helper.make_node("If", ["c"], ["y"], then_branch=body("t", 1.0), else_branch=body("e", 2.0))
    given = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph([node], "branch", [given], [out]))


def onnx_files(folder):
    """Write ONNX models, with their data inside and beside."""
    shelf = Shelf(folder, "onnx")
    shelf.add("small.onnx", "Gemm, Relu, Softmax", lambda p: onnx.save(onnx_model(), p))
    shelf.add("branch.onnx", "If with two bodies", lambda p: onnx.save(branching(), p))

    def described(path):
        model = onnx_model()
        helper.set_model_props(model, {"author": "tests", "labels": "a,b"})
        model.doc_string = "A small model."
        onnx.save(model, path)

    shelf.add("described.onnx", "with properties and words", described)

    def beside(path):
        path.mkdir()
        settings = {
            "save_as_external_data": True,
            "all_tensors_to_one_file": True,
            "location": "weights.bin",
            "size_threshold": 0,
        }
        onnx.save_model(onnx_model(), path / "model.onnx", **settings)

    shelf.add("external", "weights in a file beside it", beside)

    def learned(path):
        ai = helper.make_opsetid("ai.onnx.ml", 3)
        node = helper.make_node(
            "Scaler", ["X"], ["Y"], domain="ai.onnx.ml", offset=[0.0] * 3, scale=[1.0] * 3
        )
        X = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])
        Y = helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 3])
        graph = helper.make_graph([node], "scaler", [X], [Y])
        onnx.save(helper.make_model(graph, opset_imports=[ai, helper.make_opsetid("", 17)]), path)

    shelf.add("learned.onnx", "an operator of ai.onnx.ml", learned)
    return shelf


def hdf5_files(folder):
    """Write HDF5 as Keras lays weights out; Keras itself is too heavy for this test."""
    shelf = Shelf(folder, "hdf5")

    def weights_file(path, *, packed=False):
        settings = {"compression": "gzip", "chunks": True} if packed else {}
        with h5py.File(path, "w") as file:
            layers = file.create_group("model_weights")
            layers.attrs["layer_names"] = [b"dense"]
            layers.attrs["backend"] = b"tensorflow"
            dense = layers.create_group("dense/dense")
            dense.create_dataset("kernel:0", data=weights()["layer.weight"], **settings)
            dense.create_dataset("bias:0", data=weights()["layer.bias"], **settings)

    shelf.add("weights.h5", "groups, attributes and datasets", weights_file)
    shelf.add("packed.hdf5", "chunked and compressed", lambda p: weights_file(p, packed=True))
    return shelf


def skops_files(folder):
    """Write scikit-learn models in skops' own format."""
    shelf = Shelf(folder, "skops")
    X, y = datasets.load_iris(return_X_y=True)
    models = {
        "logistic": linear_model.LogisticRegression(max_iter=200),
        "forest": ensemble.RandomForestClassifier(3, random_state=0),
        "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()),
    }
    for name, model in models.items():
        model.fit(X, y)
        shelf.add(f"{name}.skops", name, lambda p, m=model: skops.io.dump(m, p))
    return shelf


def tokenizer_files(folder):
    """Write tokenizers trained here."""
    shelf = Shelf(folder, "tokenizers")
    texts = ["a short text about bread", "rivers and bridges", "scales weigh bread"] * 5
    models = {
        "bpe": (tokenizers.models.BPE(unk_token="[UNK]"), tokenizers.trainers.BpeTrainer(vocab_size=80)),
        "wordpiece": (
            tokenizers.models.WordPiece(unk_token="[UNK]"),
            tokenizers.trainers.WordPieceTrainer(vocab_size=80),
        ),
        "unigram": (tokenizers.models.Unigram(), tokenizers.trainers.UnigramTrainer(vocab_size=60)),
        "words": (tokenizers.models.WordLevel(unk_token="[UNK]"), tokenizers.trainers.WordLevelTrainer()),
    }
    for name, (model, trainer) in models.items():
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.train_from_iterator(texts, trainer)
        shelf.add(f"{name}/tokenizer.json", name, lambda p, t=tokenizer: t.save(str(p)))
    return shelf


def sentencepiece_files(folder):
    """Write tokenizer.model files."""
    shelf = Shelf(folder, "sentencepiece")
    texts = ["a short text about bread", "rivers and bridges and scales"] * 50

    def trained(path, kind):
        with path.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts), model_writer=file, vocab_size=50, model_type=kind,
                hard_vocab_limit=False, minloglevel=2,
            )  # fmt: skip

    for kind in ("bpe", "unigram", "char", "word"):
        shelf.add(f"{kind}/tokenizer.model", kind, lambda p, k=kind: trained(p, k))
    return shelf


def make(folder):
    """Write the family and return its shelves."""
    torch.manual_seed(SEED)
    makers = (
        safetensors_files,
        gguf_files,
        onnx_files,
        hdf5_files,
        skops_files,
        tokenizer_files,
        sentencepiece_files,
    )
    return [maker(folder) for maker in makers]
