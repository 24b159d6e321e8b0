"""Archives of torch.export and torch.package: listed operators pass with a note, what loading evaluates is arithmetic."""

import io
import json
import zipfile

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.torch_export import is_arithmetic, is_guard, is_plain_tree, operator_of
from weighbridge.scanner.engine import scan_files

EVIL = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."


def scan(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    data = out.getvalue()
    entry = FileEntry("model.pt2", len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


def rules(report):
    return {finding.rule for finding in report.findings}


def exported(target="torch.ops.aten.relu.default", extra=None, members=None, weight=bytes(48)):
    node = {"target": target, "inputs": [], "outputs": [], "metadata": {}}
    model = {"graph_module": {"graph": {"nodes": [node]}}, "guards_code": [], **(extra or {})}
    meta = {"dtype": 7, "sizes": [{"as_int": 3}, {"as_int": 4}]}
    table = {
        "config": {"w": {"path_name": "weight_0", "is_param": True, "use_pickle": False, "tensor_meta": meta}}
    }
    return {
        "m/models/model.json": json.dumps(model).encode(), "m/data/weights/model_weights_config.json": json.dumps(table).encode(),
        "m/data/weights/weight_0": weight, "m/archive_format": b"pt2", "m/archive_version": b"0", "m/byteorder": b"little",
        "m/.data/serialization_id": b"1" * 40, "m/.data/version": b"3\n", **(members or {}),
    }  # fmt: skip


def test_an_honest_export_passes_with_a_note():
    report = scan(exported())
    assert report.verdict is Verdict.NOTES
    assert rules(report) == {"torchscript-program"}
    assert report.formats["model.pt2"] == "torch-export"
    assert report.coverage.complete
    for target in ("_operator.add", "math.trunc", "torch.sym_max", "torch.ops.higher_order.cond"):
        assert scan(exported(target)).verdict is Verdict.NOTES


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ("torch.ops.aten.from_file.default", Verdict.DANGEROUS), ("torch.ops.mylib.run.default", Verdict.UNLISTED),
        ("torch.hub.load", Verdict.UNLISTED), ("torch.save", Verdict.UNLISTED), ("_operator.attrgetter", Verdict.UNLISTED),
        ("math.__loader__", Verdict.UNLISTED), ("os.system", Verdict.UNLISTED), ("#ext:run", Verdict.UNLISTED),
        ("torch.ops.higher_order.run_const_graph", Verdict.UNLISTED), ("", Verdict.UNLISTED),
    ],
)  # fmt: skip
def test_operators_that_nobody_listed_are_refused(target, verdict):
    report = scan(exported(target))
    assert report.verdict is verdict
    assert "torchscript-operator" in rules(report)


@pytest.mark.parametrize(
    "extra",
    [
        {"guards_code": ["__import__('os').system('id')"]},
        {"guards_code": ["L['x'].size()[0] < print(1)"]},
        {"range": {"expr_str": "__import__('os').system('id')"}},
        {"range": {"expr_str": "().__class__"}},
        {
            "in_spec": '[1, {"type": "collections.defaultdict", "context": "{\\"default_factory_module\\": \\"os\\"}"}]'
        },
        {"in_spec": '{"__enum__": true, "fqn": "os:x"}'},
    ],
)
def test_what_loading_would_evaluate_is_refused(extra):
    report = scan(exported(extra=extra))
    assert report.verdict is Verdict.UNLISTED
    assert "torchscript-code" in rules(report)


def test_what_honest_exports_evaluate_passes():
    for text in (
        "s0",
        "s77*2 + 1",
        "Mod(s0, 8)",
        "FloorDiv(s12, 2) + u0",
        "Max(1, s3)",
        "2*s0 <= 16",
        "int_oo",
        "Eq(s0, 3)",
    ):
        assert is_arithmetic(text), text
    for text in (
        "",
        "x",
        "s0.a",
        "s0['a']",
        "f(s0)",
        "[s0]",
        "lambda: s0",
        "(" * 500,
        "'a'.b",
        "s0 if s1 else s2 for",
    ):
        assert not is_arithmetic(text), text
    assert is_arithmetic("Add(Mul(Integer(2), Symbol('s77', positive=True, integer=True)), Integer(1))")
    assert not is_arithmetic("Max('print(1)', 2)")
    assert not is_arithmetic("Symbol(b's0')")
    assert is_guard("L['args'][0][0].size()[0] <= 2*L['x'].size()[1] and L['x'].stride()[0] == 1")
    assert not is_guard("L['x'].__class__ == 1")
    assert not is_guard("G['x'].size()[0] == 1")
    assert is_plain_tree('{"default_factory_module": "builtins", "default_factory_name": "list"}')
    assert not is_plain_tree('{"default_factory_module": "os", "default_factory_name": "system"}')
    assert operator_of("torch.ops.aten.add.Tensor") == "aten::add"
    assert operator_of("torch.ops.aten.add.Tensor.x") == ""


def test_members_of_an_export_are_accounted_for():
    assert "torch-layout" in rules(scan(exported(weight=bytes(47))))
    assert scan(exported(members={"m/data/weights/weight_9": EVIL})).verdict is Verdict.DANGEROUS
    assert scan(exported(members={"m/data/sample_inputs/model.pt": EVIL})).verdict is Verdict.DANGEROUS
    assert scan(exported(members={"m/data/aotinductor/a.cpp": b"int main() {}"})).verdict is Verdict.UNLISTED
    assert scan(exported(members={"m/archive_format": b"x"})).verdict is Verdict.BROKEN
    assert scan(exported(members={"m/archive_version": EVIL})).verdict is Verdict.BROKEN
    assert scan(exported(members={"m/models/model.json": b"{"})).verdict is Verdict.UNREAD


STORAGE = (
    b"\x80\x03ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nK\x00X\x03\x00\x00\x00cpuK\x04tQ"
    b"K\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR."
)


def package(**members):
    content = {
        "p/.data/extern_modules": b"torch\ncollections\n", "p/.data/python_version": b"3.11.7", "p/.data/version": b"3\n",
        "p/.data/0.storage": bytes(16), "p/model/model.pkl": STORAGE, "p/byteorder": b"little",
    }  # fmt: skip
    content.update(members)
    return scan({name: data for name, data in content.items() if data is not None})


def test_a_package_of_tensors_is_clean():
    report = package()
    assert (report.verdict, report.formats["model.pt2"]) == (Verdict.CLEAN, "torch-package")
    assert report.coverage.complete


def test_what_else_a_package_holds_is_judged():
    assert package(**{"p/my/mod.py": b"x = 1\n"}).verdict is Verdict.UNLISTED
    assert package(**{"p/other/x.pkl": EVIL}).verdict is Verdict.DANGEROUS
    assert package(**{"p/.data/9.storage": EVIL}).verdict is Verdict.DANGEROUS
    assert package(**{"p/.data/0.storage": bytes(15)}).verdict is Verdict.BROKEN
    assert package(**{"p/.data/0.storage": None}).verdict is Verdict.BROKEN
    assert package(**{"p/model/model.pkl": STORAGE + b"x"}).verdict is Verdict.BROKEN
    assert package(**{"p/.data/extern_modules": EVIL}).verdict is Verdict.BROKEN
    assert package(**{"p/.data/version": EVIL}).verdict is Verdict.BROKEN


def test_a_call_in_a_persistent_id_is_unlisted():
    data = b"\x80\x02(X\x0e\x00\x00\x00reduce_packagecos\nsystem\n(X\x02\x00\x00\x00idttQ."
    assert not package(**{"p/model/model.pkl": data}).verdict.passes


MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00."


def legacy(module, name):
    identity = (
        b"(X\x06\x00\x00\x00modulec"
        + f"{module}\n{name}\n".encode()
        + b"X\x04\x00\x00\x00a.pyX\x05\x00\x00\x00classtQ"
    )
    data = MAGIC + b"\x80\x02" + identity + b")\x81}X\x01\x00\x00\x00aK\x01sb." + b"\x80\x02]."
    entry = FileEntry("model.pt", len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


def test_classes_in_the_ids_of_an_old_stream_are_judged_like_others():
    report = legacy("torch.nn.modules.activation", "ReLU")
    assert report.verdict is Verdict.NOTES
    assert rules(report) == {"pickle-profile"}
    assert legacy("os", "system").verdict is Verdict.DANGEROUS
    assert legacy("evil", "Model").verdict is Verdict.UNLISTED
