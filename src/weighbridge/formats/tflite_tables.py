"""Tables of a TensorFlow Lite model, and the numbers of its operators.

Source: tensorflow/lite/schema/schema.fbs of TensorFlow 2.21. A field is `slot:kind`: 1, 2, 4 and 8 are numbers of so
many bytes, s is text, another word a table, u and a word a union (its type lies in the slot before), * a vector of.
"""

from __future__ import annotations

from collections.abc import Mapping

_TABLES = """
ATan2Options
AbsOptions
AddNOptions
AddOptions 0:1 1:1
ArgMaxOptions 0:1
ArgMinOptions 0:1
AssignVariableOptions
BatchMatMulOptions 0:1 1:1 2:1
BatchToSpaceNDOptions
BidirectionalSequenceLSTMOptions 0:1 1:4 2:4 3:1 4:1 5:1
BidirectionalSequenceRNNOptions 0:1 1:1 2:1 3:1
BitcastOptions
BitwiseXorOptions
BlockwiseQuantization 0:4 1:4 2:4
BroadcastToOptions
BucketizeOptions 0:*4
Buffer 0:*1 1:8 2:8
CallOnceOptions 0:4
CallOptions 0:4
CastOptions 0:1 1:1
ConcatEmbeddingsOptions 0:4 1:*4 2:*4
ConcatenationOptions 0:4 1:1
Conv2DOptions 0:1 1:4 2:4 3:1 4:4 5:4 6:1
Conv3DOptions 0:1 1:4 2:4 3:4 4:1 5:4 6:4 7:4
CosOptions
CumsumOptions 0:1 1:1
CustomQuantization 0:*1
DensifyOptions
DepthToSpaceOptions 0:4
DepthwiseConv2DOptions 0:1 1:4 2:4 3:4 4:1 5:4 6:4
DequantizeOptions
DilateOptions
DimensionMetadata 0:1 1:4 2:1 3:uSparseIndexVector 4:1 5:uSparseIndexVector
DivOptions 0:1
DynamicUpdateSliceOptions
EmbeddingLookupSparseOptions 0:1
EqualOptions
ExpOptions
ExpandDimsOptions
ExternalBuffer 0:4 1:4 2:8 4:s
ExternalBufferGroup 0:s
FakeQuantOptions 0:4 1:4 2:4 3:1
FillOptions
FloorDivOptions
FloorModOptions
FullyConnectedOptions 0:1 1:1 2:1 3:1 4:1
GatherNdOptions
GatherOptions 0:4 1:4
GeluOptions 0:1
GreaterEqualOptions
GreaterOptions
HardSwishOptions
HashtableFindOptions
HashtableImportOptions
HashtableOptions 0:4 1:1 2:1
HashtableSizeOptions
IfOptions 0:4 1:4
Int32Vector 0:*4
L2NormOptions 0:1
LSHProjectionOptions 0:1
LSTMOptions 0:1 1:4 2:4 3:1 4:1
LeakyReluOptions 0:4
LessEqualOptions
LessOptions
LocalResponseNormalizationOptions 0:4 1:4 2:4 3:4
LogSoftmaxOptions
LogicalAndOptions
LogicalNotOptions
LogicalOrOptions
MatrixDiagOptions
MatrixSetDiagOptions
MaximumMinimumOptions
Metadata 0:s 1:4
MirrorPadOptions 0:1
Model 0:4 1:*OperatorCode 2:*SubGraph 3:s 4:*Buffer 5:*4 6:*Metadata 7:*SignatureDef 8:*ExternalBufferGroup
    9:*ExternalBuffer
MulOptions 0:1
NegOptions
NonMaxSuppressionV4Options
NonMaxSuppressionV5Options
NotEqualOptions
OneHotOptions 0:4
Operator 0:4 1:*4 2:*4 3:1 4:uBuiltinOptions 5:*1 6:1 7:*1 8:*4 9:8 10:8 11:1 12:uBuiltinOptions2 13:4
OperatorCode 0:1 1:s 2:4 3:4
PackOptions 0:4 1:4
PadOptions
PadV2Options
Pool2DOptions 0:1 1:4 2:4 3:4 4:4 5:1
PowOptions
QuantizationParameters 0:*4 1:*4 2:*4 3:*8 4:1 5:uQuantizationDetails 6:4
QuantizeOptions
RNNOptions 0:1 1:1
RandomOptions 0:8 1:8
RangeOptions
RankOptions
ReadVariableOptions
ReduceWindowOptions 0:4
ReducerOptions 0:1
ReshapeOptions 0:*4
ResizeBilinearOptions 2:1 3:1
ResizeNearestNeighborOptions 0:1 1:1
ReverseSequenceOptions 0:4 1:4
ReverseV2Options
Rfft2dOptions
RightShiftOptions
SVDFOptions 0:4 1:1 2:1
ScatterNdOptions
SegmentSumOptions
SelectOptions
SelectV2Options
SequenceRNNOptions 0:1 1:1 2:1
ShapeOptions 0:1
SignOptions
SignatureDef 0:*TensorMap 1:*TensorMap 2:s 4:4
SkipGramOptions 0:4 1:4 2:1
SliceOptions
SoftmaxOptions 0:4
SpaceToBatchNDOptions
SpaceToDepthOptions 0:4
SparseToDenseOptions 0:1
SparsityParameters 0:*4 1:*4 2:*DimensionMetadata
SplitOptions 0:4
SplitVOptions 0:4
SquareOptions
SquaredDifferenceOptions
SqueezeOptions 0:*4
StableHLOCompositeOptions 0:s 1:4 2:*1 3:1 4:4
StablehloBroadcastInDimOptions 0:*8
StablehloCaseOptions 0:*4
StablehloCompareOptions 0:4 1:4
StablehloConcatenateOptions 0:8
StablehloConvolutionOptions 0:*8 1:*8 2:*8 3:*8 4:*1 5:8 6:8 7:*8 8:8 9:8 10:*8 11:8 12:8 13:*8 14:8 15:8
    16:*4
StablehloCustomCallOptions 0:s 1:1 2:s 3:4 4:*4 5:*1
StablehloDotGeneralOptions 0:*8 1:*8 2:*8 3:*8 4:*4
StablehloDynamicSliceOptions 0:*8
StablehloGatherOptions 0:*8 1:*8 2:*8 3:8 4:*8 5:1
StablehloIotaOptions 0:8
StablehloPadOptions 0:*8 1:*8 2:*8
StablehloReduceOptions 0:*8 1:4
StablehloReduceWindowOptions 0:*8 1:*8 2:*8 3:*8 4:*8 5:4
StablehloRngBitGeneratorOptions 0:1
StablehloScatterOptions 0:1 1:*8 2:*8 3:*8 4:8 5:1 6:4
StablehloShiftLeftOptions
StablehloSliceOptions 0:*8 1:*8 2:*8
StablehloSortOptions 0:8 1:1 2:4
StablehloTransposeOptions 0:*8
StablehloWhileOptions 0:4 1:4
StridedSliceOptions 0:4 1:4 2:4 3:4 4:4 5:1
SubGraph 0:*Tensor 1:*4 2:*4 3:*Operator 4:s 5:4
SubOptions 0:1 1:1
Tensor 0:*4 1:1 2:4 3:s 4:QuantizationParameters 5:1 6:SparsityParameters 7:*4 8:1 9:*VariantSubType 10:4
TensorMap 0:s 1:4
TileOptions
TopKV2Options
TransposeConvOptions 0:1 1:4 2:4 3:1 4:1
TransposeOptions
Uint16Vector 0:*2
Uint8Vector 0:*1
UnidirectionalSequenceLSTMOptions 0:1 1:4 2:4 3:1 4:1 5:1
UniqueOptions 0:1
UnpackOptions 0:4 1:4
UnsortedSegmentMaxOptions
UnsortedSegmentMinOptions
UnsortedSegmentProdOptions
UnsortedSegmentSumOptions
VarHandleOptions 0:s 1:s
VariantSubType 0:*4 1:1 2:1
WhereOptions
WhileOptions 0:4 1:4
ZerosLikeOptions
"""

_UNIONS = """
BuiltinOptions 1:Conv2DOptions 2:DepthwiseConv2DOptions 3:ConcatEmbeddingsOptions 4:LSHProjectionOptions
    5:Pool2DOptions 6:SVDFOptions 7:RNNOptions 8:FullyConnectedOptions 9:SoftmaxOptions
    10:ConcatenationOptions 11:AddOptions 12:L2NormOptions 13:LocalResponseNormalizationOptions
    14:LSTMOptions 15:ResizeBilinearOptions 16:CallOptions 17:ReshapeOptions 18:SkipGramOptions
    19:SpaceToDepthOptions 20:EmbeddingLookupSparseOptions 21:MulOptions 22:PadOptions 23:GatherOptions
    24:BatchToSpaceNDOptions 25:SpaceToBatchNDOptions 26:TransposeOptions 27:ReducerOptions 28:SubOptions
    29:DivOptions 30:SqueezeOptions 31:SequenceRNNOptions 32:StridedSliceOptions 33:ExpOptions
    34:TopKV2Options 35:SplitOptions 36:LogSoftmaxOptions 37:CastOptions 38:DequantizeOptions
    39:MaximumMinimumOptions 40:ArgMaxOptions 41:LessOptions 42:NegOptions 43:PadV2Options 44:GreaterOptions
    45:GreaterEqualOptions 46:LessEqualOptions 47:SelectOptions 48:SliceOptions 49:TransposeConvOptions
    50:SparseToDenseOptions 51:TileOptions 52:ExpandDimsOptions 53:EqualOptions 54:NotEqualOptions
    55:ShapeOptions 56:PowOptions 57:ArgMinOptions 58:FakeQuantOptions 59:PackOptions 60:LogicalOrOptions
    61:OneHotOptions 62:LogicalAndOptions 63:LogicalNotOptions 64:UnpackOptions 65:FloorDivOptions
    66:SquareOptions 67:ZerosLikeOptions 68:FillOptions 69:BidirectionalSequenceLSTMOptions
    70:BidirectionalSequenceRNNOptions 71:UnidirectionalSequenceLSTMOptions 72:FloorModOptions
    73:RangeOptions 74:ResizeNearestNeighborOptions 75:LeakyReluOptions 76:SquaredDifferenceOptions
    77:MirrorPadOptions 78:AbsOptions 79:SplitVOptions 80:UniqueOptions 81:ReverseV2Options 82:AddNOptions
    83:GatherNdOptions 84:CosOptions 85:WhereOptions 86:RankOptions 87:ReverseSequenceOptions
    88:MatrixDiagOptions 89:QuantizeOptions 90:MatrixSetDiagOptions 91:HardSwishOptions 92:IfOptions
    93:WhileOptions 94:DepthToSpaceOptions 95:NonMaxSuppressionV4Options 96:NonMaxSuppressionV5Options
    97:ScatterNdOptions 98:SelectV2Options 99:DensifyOptions 100:SegmentSumOptions 101:BatchMatMulOptions
    102:CumsumOptions 103:CallOnceOptions 104:BroadcastToOptions 105:Rfft2dOptions 106:Conv3DOptions
    107:HashtableOptions 108:HashtableFindOptions 109:HashtableImportOptions 110:HashtableSizeOptions
    111:VarHandleOptions 112:ReadVariableOptions 113:AssignVariableOptions 114:RandomOptions
    115:BucketizeOptions 116:GeluOptions 117:DynamicUpdateSliceOptions 118:UnsortedSegmentProdOptions
    119:UnsortedSegmentMaxOptions 120:UnsortedSegmentMinOptions 121:UnsortedSegmentSumOptions
    122:ATan2Options 123:SignOptions 124:BitcastOptions 125:BitwiseXorOptions 126:RightShiftOptions
BuiltinOptions2 1:StablehloConcatenateOptions 2:StablehloBroadcastInDimOptions 3:StablehloSliceOptions
    4:StablehloConvolutionOptions 5:StablehloCustomCallOptions 6:StablehloReduceOptions
    7:StablehloScatterOptions 8:StablehloCompareOptions 9:StablehloDynamicSliceOptions
    10:StablehloPadOptions 11:StablehloIotaOptions 12:StablehloDotGeneralOptions
    13:StablehloReduceWindowOptions 14:StablehloSortOptions 15:StablehloWhileOptions
    16:StablehloGatherOptions 17:StablehloTransposeOptions 18:DilateOptions
    19:StablehloRngBitGeneratorOptions 20:ReduceWindowOptions 21:StableHLOCompositeOptions
    22:StablehloShiftLeftOptions 23:StablehloCaseOptions
QuantizationDetails 1:CustomQuantization 2:BlockwiseQuantization
SparseIndexVector 1:Int32Vector 2:Uint16Vector 3:Uint8Vector
"""

_OPERATORS = """
0:ADD 1:AVERAGE_POOL_2D 2:CONCATENATION 3:CONV_2D 4:DEPTHWISE_CONV_2D 5:DEPTH_TO_SPACE 6:DEQUANTIZE
7:EMBEDDING_LOOKUP 8:FLOOR 9:FULLY_CONNECTED 10:HASHTABLE_LOOKUP 11:L2_NORMALIZATION 12:L2_POOL_2D
13:LOCAL_RESPONSE_NORMALIZATION 14:LOGISTIC 15:LSH_PROJECTION 16:LSTM 17:MAX_POOL_2D 18:MUL 19:RELU
20:RELU_N1_TO_1 21:RELU6 22:RESHAPE 23:RESIZE_BILINEAR 24:RNN 25:SOFTMAX 26:SPACE_TO_DEPTH 27:SVDF 28:TANH
29:CONCAT_EMBEDDINGS 30:SKIP_GRAM 31:CALL 32:CUSTOM 33:EMBEDDING_LOOKUP_SPARSE 34:PAD
35:UNIDIRECTIONAL_SEQUENCE_RNN 36:GATHER 37:BATCH_TO_SPACE_ND 38:SPACE_TO_BATCH_ND 39:TRANSPOSE 40:MEAN
41:SUB 42:DIV 43:SQUEEZE 44:UNIDIRECTIONAL_SEQUENCE_LSTM 45:STRIDED_SLICE 46:BIDIRECTIONAL_SEQUENCE_RNN
47:EXP 48:TOPK_V2 49:SPLIT 50:LOG_SOFTMAX 51:DELEGATE 52:BIDIRECTIONAL_SEQUENCE_LSTM 53:CAST 54:PRELU
55:MAXIMUM 56:ARG_MAX 57:MINIMUM 58:LESS 59:NEG 60:PADV2 61:GREATER 62:GREATER_EQUAL 63:LESS_EQUAL 64:SELECT
65:SLICE 66:SIN 67:TRANSPOSE_CONV 68:SPARSE_TO_DENSE 69:TILE 70:EXPAND_DIMS 71:EQUAL 72:NOT_EQUAL 73:LOG
74:SUM 75:SQRT 76:RSQRT 77:SHAPE 78:POW 79:ARG_MIN 80:FAKE_QUANT 81:REDUCE_PROD 82:REDUCE_MAX 83:PACK
84:LOGICAL_OR 85:ONE_HOT 86:LOGICAL_AND 87:LOGICAL_NOT 88:UNPACK 89:REDUCE_MIN 90:FLOOR_DIV 91:REDUCE_ANY
92:SQUARE 93:ZEROS_LIKE 94:FILL 95:FLOOR_MOD 96:RANGE 97:RESIZE_NEAREST_NEIGHBOR 98:LEAKY_RELU
99:SQUARED_DIFFERENCE 100:MIRROR_PAD 101:ABS 102:SPLIT_V 103:UNIQUE 104:CEIL 105:REVERSE_V2 106:ADD_N
107:GATHER_ND 108:COS 109:WHERE 110:RANK 111:ELU 112:REVERSE_SEQUENCE 113:MATRIX_DIAG 114:QUANTIZE
115:MATRIX_SET_DIAG 116:ROUND 117:HARD_SWISH 118:IF 119:WHILE 120:NON_MAX_SUPPRESSION_V4
121:NON_MAX_SUPPRESSION_V5 122:SCATTER_ND 123:SELECT_V2 124:DENSIFY 125:SEGMENT_SUM 126:BATCH_MATMUL
127:PLACEHOLDER_FOR_GREATER_OP_CODES 128:CUMSUM 129:CALL_ONCE 130:BROADCAST_TO 131:RFFT2D 132:CONV_3D
133:IMAG 134:REAL 135:COMPLEX_ABS 136:HASHTABLE 137:HASHTABLE_FIND 138:HASHTABLE_IMPORT 139:HASHTABLE_SIZE
140:REDUCE_ALL 141:CONV_3D_TRANSPOSE 142:VAR_HANDLE 143:READ_VARIABLE 144:ASSIGN_VARIABLE 145:BROADCAST_ARGS
146:RANDOM_STANDARD_NORMAL 147:BUCKETIZE 148:RANDOM_UNIFORM 149:MULTINOMIAL 150:GELU
151:DYNAMIC_UPDATE_SLICE 152:RELU_0_TO_1 153:UNSORTED_SEGMENT_PROD 154:UNSORTED_SEGMENT_MAX
155:UNSORTED_SEGMENT_SUM 156:ATAN2 157:UNSORTED_SEGMENT_MIN 158:SIGN 159:BITCAST 160:BITWISE_XOR
161:RIGHT_SHIFT 162:STABLEHLO_LOGISTIC 163:STABLEHLO_ADD 164:STABLEHLO_DIVIDE 165:STABLEHLO_MULTIPLY
166:STABLEHLO_MAXIMUM 167:STABLEHLO_RESHAPE 168:STABLEHLO_CLAMP 169:STABLEHLO_CONCATENATE
170:STABLEHLO_BROADCAST_IN_DIM 171:STABLEHLO_CONVOLUTION 172:STABLEHLO_SLICE 173:STABLEHLO_CUSTOM_CALL
174:STABLEHLO_REDUCE 175:STABLEHLO_ABS 176:STABLEHLO_AND 177:STABLEHLO_COSINE 178:STABLEHLO_EXPONENTIAL
179:STABLEHLO_FLOOR 180:STABLEHLO_LOG 181:STABLEHLO_MINIMUM 182:STABLEHLO_NEGATE 183:STABLEHLO_OR
184:STABLEHLO_POWER 185:STABLEHLO_REMAINDER 186:STABLEHLO_RSQRT 187:STABLEHLO_SELECT 188:STABLEHLO_SUBTRACT
189:STABLEHLO_TANH 190:STABLEHLO_SCATTER 191:STABLEHLO_COMPARE 192:STABLEHLO_CONVERT
193:STABLEHLO_DYNAMIC_SLICE 194:STABLEHLO_DYNAMIC_UPDATE_SLICE 195:STABLEHLO_PAD 196:STABLEHLO_IOTA
197:STABLEHLO_DOT_GENERAL 198:STABLEHLO_REDUCE_WINDOW 199:STABLEHLO_SORT 200:STABLEHLO_WHILE
201:STABLEHLO_GATHER 202:STABLEHLO_TRANSPOSE 203:DILATE 204:STABLEHLO_RNG_BIT_GENERATOR 205:REDUCE_WINDOW
206:STABLEHLO_COMPOSITE 207:STABLEHLO_SHIFT_LEFT 208:STABLEHLO_CBRT 209:STABLEHLO_CASE
"""


def _rows(text: str) -> Mapping[str, Mapping[int, str]]:
    """Read lines of a name and `number:word` pairs; indented lines go on with the row before."""
    rows: dict[str, dict[int, str]] = {}
    current: dict[int, str] = {}
    for word in text.split():
        number, colon, kind = word.partition(":")
        if colon:
            current[int(number)] = kind
        else:
            current = rows.setdefault(word, {})
    return rows


TABLES = _rows(_TABLES)
UNIONS = _rows(_UNIONS)
OPERATORS: Mapping[int, str] = _rows("x " + _OPERATORS)["x"]
CUSTOM = 32
