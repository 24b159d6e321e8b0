"""Read an ONNX model on the wire: which operators it names, which functions it defines, which files it reads from.

Source: onnx.proto of ONNX 1.23 (IR version 13). Nothing is executed and no graph is built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.formats.protobuf import Record, Walked, schema, walk

_STANDARD = "ai.onnx"
_FIRST_WITH_SETS = 3
"""The IR version from which on a model names the sets of operators it uses."""
MAX_NAMES = 100_000
"""Distinct operators or external files that are remembered."""

TABLE = schema("""
ModelProto
    1 int!+ ir_version
    2 line producer_name
    3 str producer_version
    4 line domain
    5 int model_version
    6 str doc_string
    7 GraphProto+ graph
    8 OperatorSetIdProto*! opset_import
    14 StringStringEntryProto* metadata_props
    20 TrainingInfoProto* training_info
    25 FunctionProto* functions
    26 DeviceConfigurationProto* configuration
GraphProto
    1 NodeProto* node
    2 str name
    5 TensorProto* initializer
    10 str doc_string
    11 ValueInfoProto* input
    12 ValueInfoProto* output
    13 ValueInfoProto* value_info
    14 TensorAnnotation* quantization_annotation
    15 SparseTensorProto* sparse_initializer
    16 StringStringEntryProto* metadata_props
OperatorSetIdProto
    1 str! domain
    2 int!+ version
StringStringEntryProto
    1 str key
    2 str value
ExternalEntry
    1 str! key
    2 str! value
TrainingInfoProto
    1 GraphProto initialization
    2 GraphProto algorithm
    3 StringStringEntryProto* initialization_binding
    4 StringStringEntryProto* update_binding
FunctionProto
    1 str! name
    4 str* input
    5 str* output
    6 str* attribute
    7 NodeProto* node
    8 str doc_string
    9 OperatorSetIdProto* opset_import
    10 str! domain
    11 AttributeProto* attribute_proto
    12 ValueInfoProto* value_info
    13 str! overload
    14 StringStringEntryProto* metadata_props
DeviceConfigurationProto
    1 str name
    2 int num_devices
    3 str* device
NodeProto
    1 str* input
    2 str* output
    3 str name
    4 str! op_type
    5 AttributeProto* attribute
    6 str doc_string
    7 str! domain
    8 str! overload
    9 StringStringEntryProto* metadata_props
    10 NodeDeviceConfigurationProto* device_configurations
TensorProto
    1 int* dims
    2 int! data_type
    3 TensorProto.Segment segment
    4 f32* float_data
    5 int* int32_data
    6 bytes* string_data
    7 int* int64_data
    8 str name
    9 bytes! raw_data
    10 f64* double_data
    11 int* uint64_data
    12 str doc_string
    13 ExternalEntry*! external_data
    14 int! data_location
    16 StringStringEntryProto* metadata_props
ValueInfoProto
    1 str name
    2 TypeProto type
    3 str doc_string
    4 StringStringEntryProto* metadata_props
TensorAnnotation
    1 str tensor_name
    2 StringStringEntryProto* quant_parameter_tensor_names
SparseTensorProto
    1 TensorProto values
    2 TensorProto indices
    3 int* dims
AttributeProto
    1 str name
    2 f32 f
    3 int i
    4 bytes s
    5 TensorProto t
    6 GraphProto g
    7 f32* floats
    8 int* ints
    9 bytes* strings
    10 TensorProto* tensors
    11 GraphProto* graphs
    13 str doc_string
    14 TypeProto tp
    15 TypeProto* type_protos
    20 int type
    21 str ref_attr_name
    22 SparseTensorProto sparse_tensor
    23 SparseTensorProto* sparse_tensors
NodeDeviceConfigurationProto
    1 str configuration_id
    2 ShardingSpecProto* sharding_spec
    3 int pipeline_stage
TensorProto.Segment
    1 int begin
    2 int end
TypeProto
    1 TypeProto.Tensor tensor_type
    4 TypeProto.Sequence sequence_type
    5 TypeProto.Map map_type
    6 str denotation
    7 TypeProto.Opaque opaque_type
    8 TypeProto.SparseTensor sparse_tensor_type
    9 TypeProto.Optional optional_type
ShardingSpecProto
    1 str tensor_name
    2 int* device
    3 IntIntListEntryProto* index_to_device_group_map
    4 ShardedDimProto* sharded_dim
TypeProto.Tensor
    1 int elem_type
    2 TensorShapeProto shape
TypeProto.Sequence
    1 TypeProto elem_type
TypeProto.Map
    1 int key_type
    2 TypeProto value_type
TypeProto.Opaque
    1 str domain
    2 str name
TypeProto.SparseTensor
    1 int elem_type
    2 TensorShapeProto shape
TypeProto.Optional
    1 TypeProto elem_type
IntIntListEntryProto
    1 int key
    2 int* value
ShardedDimProto
    1 int axis
    2 SimpleShardedDimProto* simple_sharding
TensorShapeProto
    1 TensorShapeProto.Dimension* dim
SimpleShardedDimProto
    1 int dim_value
    2 str dim_param
    3 int num_shards
TensorShapeProto.Dimension
    1 int dim_value
    2 str dim_param
    3 str denotation
""")


@dataclass(frozen=True, slots=True)
class External:
    """Where a tensor's bytes lie outside of the model: `length` is -1 for "to the end"."""

    location: str
    offset: int
    length: int
    place: int


@dataclass(slots=True)
class OnnxModel:
    """What the model names; `operators` is (domain, name) to where it first stands."""

    operators: dict[tuple[str, str], int] = field(default_factory=dict)
    functions: set[tuple[str, str]] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)
    """Sets of operators the model says it uses; the one of the standard is empty or ai.onnx."""
    external: list[External] = field(default_factory=list)
    mixed: list[int] = field(default_factory=list)
    """Where tensors stand that say of themselves both that their bytes are inside and that they are outside."""
    unknown: tuple[tuple[str, int, int], ...] = ()
    missing: tuple[tuple[str, str, int], ...] = ()
    full: bool = False
    """More names than are remembered."""


def read_onnx(stream: BinaryIO, size: int) -> OnnxModel:
    """Read a model of `size` bytes; raises Unreadable (checks `onnx.*`) and OutOfBudget."""
    model = OnnxModel()

    def on(record: Record) -> None:
        if record.kind == "NodeProto":
            if len(model.operators) < MAX_NAMES:
                name = (record.text("domain"), record.text("op_type"))
                model.operators.setdefault(name, record.offset)
            else:
                model.full = True
        elif record.kind == "OperatorSetIdProto":
            if len(model.domains) < MAX_NAMES:
                model.domains.add(record.text("domain"))
        elif record.kind == "FunctionProto":
            model.functions.add((record.text("domain"), record.text("name")))
        elif record.kind == "TensorProto" and (
            "external_data" in record.values or record.number("data_location")
        ):
            _external(model, record)

    walked: Walked = walk(stream, size, TABLE, "ModelProto", check="onnx", what="an ONNX model", on=on)
    model.unknown, model.missing = walked.unknown, walked.missing
    _whole(model, walked.root)
    return model


def _whole(model: OnnxModel, root: Record) -> None:
    """Note sets of operators that the model uses and does not import: no runtime takes it."""
    imports = root.records("opset_import")
    if not imports:
        if root.number("ir_version") >= _FIRST_WITH_SETS:
            model.missing += (("ModelProto", "opset_import", 0),)
        return
    said = {domain or _STANDARD for domain in model.domains}
    used = {domain or _STANDARD for domain, _ in model.operators}
    model.missing += tuple(("ModelProto", f"opset_import of {domain!r}", 0) for domain in sorted(used - said))


def _external(model: OnnxModel, record: Record) -> None:
    entries = [(entry.text("key"), entry.text("value")) for entry in record.records("external_data")]
    named = dict(entries)
    numbers = [_number(named.get("offset", "0")), _number(named.get("length", "-1"))]
    strange = len(named) != len(entries) or None in numbers or not named.get("location")
    if strange or record.number("data_location") != 1 or "raw_data" in record.values:
        model.mixed.append(record.offset)
    if "location" in named:
        if len(model.external) >= 10 * MAX_NAMES:
            model.full = True
            return
        offset, length = numbers
        model.external.append(
            External(named["location"], offset or 0, -1 if length is None else length, record.offset)
        )


def _number(text: str) -> int | None:
    if text == "-1":
        return -1
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
