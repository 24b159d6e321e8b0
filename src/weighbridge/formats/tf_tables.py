"""Tables of the messages in a TensorFlow SavedModel, frozen graph, checkpoint and what Keras adds to them.

Source: the .proto files of TensorFlow 2.21 (tensorflow/core/protobuf, tensorflow/core/framework) and Keras'
saved_metadata.proto. `AssetTensor` is `TensorInfo` where an asset is named.
"""

from __future__ import annotations

from weighbridge.formats.protobuf import schema

TABLE = schema("""
SavedModel
    1 int+ saved_model_schema_version; 2 MetaGraphDef*+ meta_graphs
MetaGraphDef
    1 MetaGraphDef.MetaInfoDef! meta_info_def; 2 GraphDef+ graph_def; 3 SaverDef! saver_def
    4 MetaGraphDef.CollectionDefEntry* collection_def; 5 MetaGraphDef.SignatureDefEntry* signature_def
    6 AssetFileDef* asset_file_def; 7 SavedObjectGraph object_graph_def
MetaGraphDef.MetaInfoDef
    1 str meta_graph_version; 2 OpList stripped_op_list; 3 protobuf.Any any_info; 4 str* tags
    5 str! tensorflow_version; 6 str tensorflow_git_version; 7 int stripped_default_attrs
    8 MetaGraphDef.MetaInfoDef.FunctionAliasesEntry* function_aliases
GraphDef
    1 NodeDef* node; 2 FunctionDefLibrary library; 3 int! version; 4 VersionDef! versions
    5 GraphDebugInfo debug_info
SaverDef
    1 str! filename_tensor_name; 2 str! save_tensor_name; 3 str! restore_op_name; 4 int max_to_keep
    5 int sharded; 6 f32 keep_checkpoint_every_n_hours; 7 int version
MetaGraphDef.CollectionDefEntry
    1 str key; 2 CollectionDef value
MetaGraphDef.SignatureDefEntry
    1 str key; 2 SignatureDef value
AssetFileDef
    1 AssetTensor! tensor_info; 2 str! filename
SavedObjectGraph
    1 SavedObject* nodes; 2 SavedObjectGraph.ConcreteFunctionsEntry* concrete_functions
OpList
    1 OpDef* op
protobuf.Any
    1 str type_url; 2 bytes value
MetaGraphDef.MetaInfoDef.FunctionAliasesEntry
    1 str key; 2 str value
NodeDef
    1 str!+ name; 2 str!+ op; 3 str*! input; 4 str device; 5 NodeDef.AttrEntry*! attr
    6 NodeDef.ExperimentalDebugInfo experimental_debug_info; 7 FullTypeDef experimental_type
FunctionDefLibrary
    1 FunctionDef* function; 2 GradientDef* gradient; 3 RegisteredGradient* registered_gradients
VersionDef
    1 int! producer; 2 int min_consumer; 3 int* bad_consumers
GraphDebugInfo
    1 str* files; 2 GraphDebugInfo.TracesEntry* traces; 4 GraphDebugInfo.FramesByIdEntry* frames_by_id
    5 GraphDebugInfo.NameToTraceIdEntry* name_to_trace_id; 6 GraphDebugInfo.TracesByIdEntry* traces_by_id
CollectionDef
    1 CollectionDef.NodeList node_list; 2 CollectionDef.BytesList bytes_list
    3 CollectionDef.Int64List int64_list; 4 CollectionDef.FloatList float_list
    5 CollectionDef.AnyList any_list
SignatureDef
    1 SignatureDef.InputsEntry* inputs; 2 SignatureDef.OutputsEntry* outputs; 3 str method_name
    4 SignatureDef.DefaultsEntry* defaults
TensorInfo
    1 str name; 2 int dtype; 3 TensorShapeProto tensor_shape; 4 TensorInfo.CooSparse coo_sparse
    5 TensorInfo.CompositeTensor composite_tensor
SavedObject
    1 TrackableObjectGraph.TrackableObject.ObjectReference* children
    3 TrackableObjectGraph.TrackableObject.SlotVariableReference* slot_variables
    4 SavedUserObject user_object; 5 SavedAsset asset; 6 SavedFunction function; 7 SavedVariable variable
    8 SavedBareConcreteFunction bare_concrete_function; 9 SavedConstant constant
    10 SavedResource resource; 11 SavedObject.SaveableObjectsEntry* saveable_objects
    12 CapturedTensor captured_tensor; 13 str registered_name; 14 protobuf.Any serialized_user_proto
    15 TrackableObjectGraph.TrackableObject.ObjectReference* dependencies; 16 str registered_saver
SavedObjectGraph.ConcreteFunctionsEntry
    1 str key; 2 SavedConcreteFunction value
OpDef
    1 str! name; 2 OpDef.ArgDef*! input_arg; 3 OpDef.ArgDef* output_arg; 4 OpDef.AttrDef* attr
    5 str summary; 6 str description; 8 OpDeprecation deprecation; 16 int is_aggregate
    17 int is_stateful; 18 int is_commutative; 19 int allows_uninitialized_input; 20 str* control_output
    21 int is_distributed_communication
NodeDef.AttrEntry
    1 str! key; 2 AttrValue! value
NodeDef.ExperimentalDebugInfo
    1 str* original_node_names; 2 str* original_func_names
FullTypeDef
    1 int type_id; 2 FullTypeDef* args; 3 str s; 4 int i
FunctionDef
    1 OpDef! signature; 3 NodeDef* node_def; 4 FunctionDef.RetEntry* ret; 5 FunctionDef.AttrEntry* attr
    6 FunctionDef.ControlRetEntry* control_ret; 7 FunctionDef.ArgAttrEntry* arg_attr
    8 FunctionDef.ResourceArgUniqueIdEntry* resource_arg_unique_id
GradientDef
    1 str! function_name; 2 str! gradient_func
RegisteredGradient
    1 str gradient_func; 2 str registered_op_type
GraphDebugInfo.TracesEntry
    1 str key; 2 GraphDebugInfo.StackTrace value
GraphDebugInfo.FramesByIdEntry
    1 f64 key; 2 GraphDebugInfo.FileLineCol value
GraphDebugInfo.NameToTraceIdEntry
    1 str key; 2 f64 value
GraphDebugInfo.TracesByIdEntry
    1 f64 key; 2 GraphDebugInfo.StackTrace value
CollectionDef.NodeList
    1 str* value
CollectionDef.BytesList
    1 bytes* value
CollectionDef.Int64List
    1 int* value
CollectionDef.FloatList
    1 f32* value
CollectionDef.AnyList
    1 protobuf.Any* value
SignatureDef.InputsEntry
    1 str key; 2 TensorInfo value
SignatureDef.OutputsEntry
    1 str key; 2 TensorInfo value
SignatureDef.DefaultsEntry
    1 str key; 2 TensorProto value
TensorShapeProto
    2 TensorShapeProto.Dim* dim; 3 int unknown_rank
TensorInfo.CooSparse
    1 str values_tensor_name; 2 str indices_tensor_name; 3 str dense_shape_tensor_name
TensorInfo.CompositeTensor
    1 TypeSpecProto type_spec; 2 TensorInfo* components
TrackableObjectGraph.TrackableObject.ObjectReference
    1 int node_id; 2 str local_name
TrackableObjectGraph.TrackableObject.SlotVariableReference
    1 int original_variable_node_id; 2 str slot_name; 3 int slot_variable_node_id
SavedUserObject
    1 str! identifier; 2 VersionDef version; 3 str! metadata
SavedAsset
    1 int asset_file_def_index
SavedFunction
    1 str* concrete_functions; 2 FunctionSpec function_spec
SavedVariable
    1 int dtype; 2 TensorShapeProto shape; 3 int trainable; 4 int synchronization; 5 int aggregation
    6 str name; 7 str device; 8 SavedVariable* experimental_distributed_variable_components
SavedBareConcreteFunction
    1 str concrete_function_name; 2 str* argument_keywords; 3 int allowed_positional_arguments
    4 FunctionSpec function_spec
SavedConstant
    1 str operation
SavedResource
    1 str device
SavedObject.SaveableObjectsEntry
    1 str key; 2 SaveableObject value
CapturedTensor
    1 str name; 2 str concrete_function
SavedConcreteFunction
    2 int* bound_inputs; 3 StructuredValue canonicalized_input_signature
    4 StructuredValue output_signature
OpDef.ArgDef
    1 str! name; 2 str description; 3 int type; 4 str type_attr; 5 str number_attr; 6 str type_list_attr
    7 ResourceHandleProto.DtypeAndShape* handle_data; 16 int is_ref
    17 FullTypeDef experimental_full_type
OpDef.AttrDef
    1 str name; 2 str type; 3 AttrValue default_value; 4 str description; 5 int has_minimum
    6 int minimum; 7 AttrValue allowed_values
OpDeprecation
    1 int version; 2 str explanation
AttrValue
    1 AttrValue.ListValue! list; 2 bytes! s; 3 int i; 4 f32 f; 5 int b; 6 int type
    7 TensorShapeProto shape; 8 TensorProto! tensor; 9 str placeholder; 10 NameAttrList! func
FunctionDef.RetEntry
    1 str key; 2 str value
FunctionDef.AttrEntry
    1 str key; 2 AttrValue value
FunctionDef.ControlRetEntry
    1 str key; 2 str value
FunctionDef.ArgAttrEntry
    1 int key; 2 FunctionDef.ArgAttrs value
FunctionDef.ResourceArgUniqueIdEntry
    1 int key; 2 int value
GraphDebugInfo.StackTrace
    1 GraphDebugInfo.FileLineCol* file_line_cols; 2 f64* frame_id
GraphDebugInfo.FileLineCol
    1 int file_index; 2 int line; 3 int col; 4 str func; 5 str code
TensorProto
    1 int! dtype; 2 TensorShapeProto tensor_shape; 3 int version_number; 4 bytes tensor_content
    5 f32* float_val; 6 f64* double_val; 7 int* int_val; 8 bytes*! string_val; 9 f32* scomplex_val
    10 int* int64_val; 11 int* bool_val; 12 f64* dcomplex_val; 13 int* half_val
    14 ResourceHandleProto* resource_handle_val; 15 VariantTensorDataProto* variant_val
    16 int* uint32_val; 17 int* uint64_val; 18 bytes float8_val
TensorShapeProto.Dim
    1 int size; 2 str name
TypeSpecProto
    1 int type_spec_class; 2 StructuredValue type_state; 3 str type_spec_class_name
    4 int num_flat_components
FunctionSpec
    1 StructuredValue fullargspec; 2 int is_method; 5 StructuredValue input_signature; 6 int jit_compile
SaveableObject
    2 int save_function; 3 int restore_function
StructuredValue
    1 NoneValue none_value; 11 f64 float64_value; 12 int int64_value; 13 str string_value
    14 int bool_value; 31 TensorShapeProto tensor_shape_value; 32 int tensor_dtype_value
    33 TensorSpecProto tensor_spec_value; 34 TypeSpecProto type_spec_value
    35 BoundedTensorSpecProto bounded_tensor_spec_value; 51 ListValue list_value
    52 TupleValue tuple_value; 53 DictValue dict_value; 54 NamedTupleValue named_tuple_value
    55 TensorProto tensor_value; 56 TensorProto numpy_value
ResourceHandleProto.DtypeAndShape
    1 int dtype; 2 TensorShapeProto shape
AttrValue.ListValue
    2 bytes* s; 3 int* i; 4 f32* f; 5 int* b; 6 int* type; 7 TensorShapeProto* shape
    8 TensorProto* tensor; 9 NameAttrList*! func
NameAttrList
    1 str! name; 2 NameAttrList.AttrEntry* attr
FunctionDef.ArgAttrs
    1 FunctionDef.ArgAttrs.AttrEntry* attr
ResourceHandleProto
    1 str device; 2 str container; 3 str name; 4 int hash_code; 5 str maybe_type_name
    6 ResourceHandleProto.DtypeAndShape* dtypes_and_shapes
VariantTensorDataProto
    1 str type_name; 2 bytes metadata; 3 TensorProto* tensors
NoneValue
TensorSpecProto
    1 str name; 2 TensorShapeProto shape; 3 int dtype
BoundedTensorSpecProto
    1 str name; 2 TensorShapeProto shape; 3 int dtype; 4 TensorProto minimum; 5 TensorProto maximum
ListValue
    1 StructuredValue* values
TupleValue
    1 StructuredValue* values
DictValue
    1 DictValue.FieldsEntry* fields
NamedTupleValue
    1 str name; 2 PairValue* values
NameAttrList.AttrEntry
    1 str key; 2 AttrValue value
FunctionDef.ArgAttrs.AttrEntry
    1 str key; 2 AttrValue value
DictValue.FieldsEntry
    1 str key; 2 StructuredValue value
PairValue
    1 str key; 2 StructuredValue value
AssetTensor
    1 str! name; 2 int dtype; 3 TensorShapeProto tensor_shape; 4 TensorInfo.CooSparse coo_sparse
    5 TensorInfo.CompositeTensor composite_tensor
SavedMetadata
    1 KerasObject*+ nodes
KerasObject
    2 int node_id; 3 str! node_path; 4 str identifier; 5 str! metadata; 6 VersionDef version
FingerprintDef
    1 int saved_model_checksum; 2 int graph_def_program_hash; 3 int signature_def_hash
    4 int saved_object_graph_hash; 5 int checkpoint_hash; 6 VersionDef version; 7 line uuid
BundleHeaderProto
    1 int! num_shards; 2 int! endianness; 3 VersionDef version
BundleEntryProto
    1 int! dtype; 2 TensorShapeProto shape; 3 int! shard_id; 4 int! offset; 5 int! size; 6 f32 crc32c;
    7 TensorSliceProto*! slices
TensorSliceProto
    1 TensorSliceProto.Extent* extent
TensorSliceProto.Extent
    1 int start; 2 int length
""")
