"""TorchScript: programs of listed operators pass with a note; anything torch's printer does not write is refused."""

import io
import zipfile

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

DATA = b"\x80\x02c__torch__\nM\nq\x00)\x81}X\x08\x00\x00\x00trainingq\x01\x89sb."
GOOD = """class M(Module):
  __parameters__ = ["weight", ]
  __buffers__ = []
  weight : Tensor
  training : bool
  __annotations__["0"] = __torch__.torch.nn.modules.linear.Linear
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    _0 = __torch__.relu
    _1 = getattr(self, "0")
    if torch.gt(torch.len(x), 3):
      ops.prim.RaiseException("too long; torch.save is only mentioned", "builtins.ValueError")
    else:
      pass
    a, b, = (torch.add(x, 1), annotate(List[int], []))
    return _0((self).helper(a, CONSTANTS.c0, ), )
  def helper(self: __torch__.M, x: Tensor, y: Tensor) -> Tensor:
    return torch.mul(x, torch.to(self.weight, dtype=6))
def relu(x: Tensor) -> Tensor:
  return torch.relu(x)
"""


def scan(code=GOOD, **members):
    content = {
        "m/data.pkl": DATA, "m/constants.pkl": b"\x80\x02).", "m/version": b"3\n", "m/code/__torch__.py": code.encode(),
        "m/code/__torch__.py.debug_pkl": b"\x80\x02)." if code == GOOD else b"\x80\x02N.",
    }  # fmt: skip
    content.update({f"m/{name}": data for name, data in members.items()})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    data = out.getvalue()
    entry = FileEntry("model.pt", len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


def rules(report):
    return {finding.rule for finding in report.findings}


def test_what_torch_writes_passes_with_a_note():
    report = scan()
    assert report.verdict is Verdict.NOTES
    assert rules(report) == {"torchscript-program"}
    assert report.formats["model.pt"] == "torchscript"
    assert report.coverage.complete


def line(text):
    return f"class M(Module):\n  def forward(self: __torch__.M, x: Tensor) -> Tensor:\n    {text}\n    return x\n"


@pytest.mark.parametrize(
    "text",
    [
        'torch.save(x, "/tmp/f")',
        'y = torch.from_file("/etc/passwd")',
        "ops.aten.save(x, x)",
        "f = torch.save",
    ],
)
def test_operators_that_reach_files_are_dangerous(text):
    report = scan(line(text))
    assert report.verdict is Verdict.DANGEROUS
    assert "torchscript-operator" in rules(report)


@pytest.mark.parametrize(
    "text",
    [
        "ops.mylib.run(x)", "ops.c10d.send(x)", "torch.no_such_operator(x)", "torch._sparse_coo_tensor_unsafe(x, x)",
        "ops.prim.rpc_async(x)", "y = ops.mylib.run",
    ],
)  # fmt: skip
def test_operators_that_nobody_listed_are_unlisted(text):
    report = scan(line(text))
    assert report.verdict is Verdict.UNLISTED
    assert "torchscript-operator" in rules(report)


@pytest.mark.parametrize(
    "text",
    [
        'x.save("/tmp/f")', "x.add(x)", "t = torch", 'getattr(x, "save")', "getattr(x, y)", "y = x.from_file",
        "import os", 'y = __import__("os")', "y = [a for a in x]", "f = open\n    f(x)", "y = lambda: x", "(x)(x)",
        "_0 = __torch__.f\n    _0 = x.y\n    _0(x)", "y = torch.ops.aten.save", "y = 1 # torch.save", 'y = f"{x}"',
        "z = __torch__.torch.classes.evil.Loader(x)", "y = await x", "y = 'ü'",
    ],
)  # fmt: skip
def test_what_the_printer_never_writes_is_unlisted(text):
    report = scan(line(text))
    assert report.verdict is Verdict.UNLISTED
    assert "torchscript-code" in rules(report)


@pytest.mark.parametrize(
    "code",
    [
        "print(1)\n",
        "class M(Module:\n",
        "@final\nclass M(Module):\n  pass\n",
        "\x0cclass M(Module):\n  pass\n",
    ],
)
def test_source_of_another_form_is_unlisted(code):
    report = scan(code)
    assert report.verdict is Verdict.UNLISTED
    assert "torchscript-code" in rules(report)


def test_a_method_that_hides_an_operator_is_unlisted():
    code = "class M(Module):\n  def save(self: __torch__.M, x: str) -> Tensor:\n    return (x).save(x)\n"
    assert scan(code).verdict is Verdict.UNLISTED


def test_native_classes_in_the_pickle_are_unlisted():
    data = b"\x80\x02c__torch__.torch.classes.evil\nLoader\n)\x81N" + b"b."
    assert scan(**{"data.pkl": data}).verdict is Verdict.UNLISTED
    data = data.replace(b"evil\nLoader", b"quantized\nLinearPackedParamsBase")
    assert scan(**{"data.pkl": data}).verdict is Verdict.NOTES


def test_pickles_of_a_program_are_judged():
    evil = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."
    for name in (
        "data.pkl",
        "constants.pkl",
        "code/__torch__.py.debug_pkl",
        "traced_inputs.pkl",
        "extra/a.bin",
    ):
        assert scan(**{name: evil}).verdict is Verdict.DANGEROUS, name


def test_operators_of_a_program_for_phones_are_judged():
    def bytecode(name):
        return (
            b"\x80\x02(X\x09\x00\x00\x00operatorsX" + len(name).to_bytes(4, "little") + name.encode() + b"t."
        )

    assert scan(**{"bytecode.pkl": bytecode("aten::relu")}).verdict is Verdict.NOTES
    assert scan(**{"bytecode.pkl": bytecode("aten::save")}).verdict is Verdict.DANGEROUS
    assert scan(**{"bytecode.pkl": bytecode("evil::run")}).verdict is Verdict.UNLISTED


def test_members_below_data_that_no_tensor_uses_are_judged_by_their_content():
    evil = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."
    report = scan(**{"data/9": evil})
    assert report.verdict is Verdict.DANGEROUS
    assert "torch-layout" in rules(report)


def test_a_class_too_long_to_parse_is_unread():
    code = "class M(Module):\n" + "  x : int\n" * 120_000
    assert scan(code).verdict is Verdict.UNREAD
