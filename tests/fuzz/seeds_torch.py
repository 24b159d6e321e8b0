"""Seeds for the layouts of torch: a program, an export and a package, each with one operator or tensor."""

import io
import json
import zipfile

_STORAGE = (
    b"\x80\x03ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    b"K\x04tQK\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR."
)
_CODE = (
    b"class M(Module):\n  __parameters__ = []\n  training : bool\n  def forward(self: __torch__.M,\n    x: Tensor) -> Tensor:\n"
    b"    _0 = torch.add(x, 1)\n    if torch.gt(torch.len(x), 3):\n      pass\n    else:\n      pass\n    return _0\n"
)


def _zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def seeds() -> list[bytes]:
    """Return one archive of each layout."""
    node = {
        "target": "torch.ops.aten.relu.default",
        "inputs": [],
        "outputs": [{"sym": {"expr_str": "2*s0 + 1"}}],
    }
    meta = {"dtype": 7, "sizes": [{"as_int": 4}]}
    table = {"config": {"w": {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta}}}
    return [
        _zipped({"m/data.pkl": _STORAGE, "m/data/0": bytes(16), "m/version": b"3\n", "m/byteorder": b"little"}),
        _zipped({"m/data.pkl": b"\x80\x02c__torch__\nM\n)\x81}X\x08\x00\x00\x00training\x89sb.", "m/constants.pkl": b"\x80\x02).",
                 "m/code/__torch__.py": _CODE, "m/version": b"3\n"}),
        _zipped({"m/models/model.json": json.dumps({"graph": {"nodes": [node]}, "guards_code": []}).encode(),
                 "m/data/weights/model_weights_config.json": json.dumps(table).encode(),
                 "m/data/weights/weight_0": bytes(16), "m/archive_format": b"pt2"}),
        _zipped({"p/.data/extern_modules": b"torch\n", "p/.data/0.storage": bytes(16), "p/model/model.pkl": _STORAGE}),
    ]  # fmt: skip
