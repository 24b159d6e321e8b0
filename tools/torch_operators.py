"""Print the operators of an installed torch that compute with data alone, as src/weighbridge/scanner/operators/torch.json.

Read from the schemas that torch registers; none of them is called. What reaches files, processes, other machines
or memory that no tensor owns is withheld, each with its reason. Run it in an environment with torch, read the
difference, then replace the file.
"""

from __future__ import annotations

import json
import re

import torch

NAMESPACES = ("aten", "prims", "quantized", "_quantized", "mkldnn_prepacked", "prim")
WITHHELD = {
    r"aten::(from_file|save)": "reads or writes a file of the model's choice",
    r"aten::(to_here|local_value|owner|owner_name|is_owner|confirmed_by_owner|get_gradients|dist_backward)": "talks to other machines",
    r"aten::.*_unsafe$|aten::(set_|set|_set_source|_index_put_impl|_index_put_impl_|resize_|resize|_resize_output_?)": "skips the checks of what a tensor owns",
    r"aten::_test_.*": "is there for torch's own tests",
    r"prim::(?!(NumToTensor|RaiseException|data|device|dtype|grad|is_\w+|itemsize|layout|max|min|abs|name|nbytes|rangelist|requires_grad|tolist|type|unchecked_cast|unchecked_unwrap_optional|Uninitialized|EnumName|EnumValue|TupleIndex|TupleUnpack|StringIndex|ModuleContainerIndex|index|Print|id|BroadcastSizes|ConstantChunk|ChunkSizes|shape)$).*": "is no operator of a saved program",
}


def main() -> None:
    """Print the JSON document."""
    names = sorted({schema.name for schema in torch._C._jit_get_all_schemas()})  # noqa: SLF001  there is no public list
    allowed: dict[str, list[str]] = {}
    withheld: dict[str, str] = {}
    for name in names:
        namespace, _, short = name.partition("::")
        reason = next((why for form, why in WITHHELD.items() if re.fullmatch(form, name)), "")
        if namespace not in NAMESPACES:
            reason = "is of a namespace that no saved model needs"
        if reason:
            withheld[name] = reason
        else:
            allowed.setdefault(namespace, []).append(short)
    document = {
        "schema": "weighbridge.operators/1",
        "torch": torch.__version__.partition("+")[0],
        "allowed": allowed,
        "withheld": withheld,
    }
    print(json.dumps(document, indent=0, ensure_ascii=False))


if __name__ == "__main__":
    main()
