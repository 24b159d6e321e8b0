"""Print the lists of operators that the scanner holds graphs against, from the registries of installed libraries.

    python tools/derive_operators.py onnx         needs onnx and onnxruntime
    python tools/derive_operators.py tensorflow   needs tensorflow-cpu

A person copies what is printed into `scanner/onnx_ops.py` or `scanner/tensorflow_ops.py`, and reads what changed:
an operator that is new there is permitted from then on.
"""

from __future__ import annotations

import re
import sys
import textwrap

_BEYOND = re.compile(
    r"_|TPU|Tpu|Xla|Collective|Nccl|Rpc|Debug|Experimental|DataService|Snapshot|FixedLengthRecord|TextLine|TFRecord"
    r"|WholeFile|CSV|LMDB|Sql|Summary|Write|Create.*Writer|CreateSummary|Import.*Event|Close.*Writer|Flush.*Writer"
    r"|BigQuery|Configure|Shutdown|DTensor|Distributed|SendTPU|RecvTPU|Enqueue.*TPU|DynamicEnqueueTPU|.*TPUEmbedding"
    r"|ConnectTPU|Disconnect|WaitFor.*TPU|Copy|Reader(?!$)|.*Reader(V2)?$|Test|KernelLabel|Attr|NPolymorphic|Old$"
    r"|Simple|OpWith|InPoly|OutType|TwoFloat|TwoInt|ResourceUsingOp|Stats|LatencyStats|BytesProduced|SetStats"
    r"|.*Snapshot|SparseCore|GetTpu|ComputeDedup|CollateTPU|SplitDedup|MergeDedup|ConvertToCooTensor|ConvertToList"
    r"|ConvertToSparseCore|GetMinibatch|StoreMinibatch|GlobalIterId|TensorRT|TRT"
)
"""Operators of TensorFlow that talk to devices, machines, files and debuggers, or exist for its own tests."""

_ALSO_BEYOND = """
Abort AssignVariableXlaConcatND ReadVariableXlaSplitND CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CompressElement ConsumeMutexLock CustomAggregator
DatasetFromGraph DatasetToGraph DatasetToGraphV2 DatasetToTFRecord DecodeProtoV2 DeleteRpcFutureResource
DeleteSessionTensor DeserializeIterator DumpTensor EagerPyFunc EncodeProto FileSystemSetConfiguration
FixedUnigramCandidateSampler GenerateVocabRemapping GeneratorDataset GetSessionHandle GetSessionHandleV2
GetSessionTensor HostConst ImmutableConst InitializeTableFromTextFile InitializeTableFromTextFileV2
IteratorFromStringHandle IteratorFromStringHandleV2 LegacyParallelInterleaveDatasetV2 ListSnapshotChunksDataset
LoadAndRemapMatrix LoadDataset MatchingFiles MatchingFilesDataset MergeV2Checkpoints MlirPassthroughOp
NonSerializableDataset PrintV2 PyFunc PyFuncStateless ReadFile RecordInput Recv RegisterDataset RegisterDatasetV2
RemoteCall Restore RestoreSlice RestoreV2 Save SaveDataset SaveDatasetV2 SaveSlices SaveV2 Send SerializeIterator
Skipgram SleepDataset UncompressElement
"""
"""Operators that read files, run what is packed into a tensor, or are judged by their attributes and paths."""

_COMPILED = frozenset({"EPContext", "Snpe"})


def tensorflow() -> dict[str, list[str]]:
    """Return the operators that compute with data at hand."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    operators = op_def_pb2.OpList()
    operators.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    left_out = set(_ALSO_BEYOND.split())
    names = {operator.name for operator in operators.op}
    return {"computing": sorted(name for name in names if name not in left_out and not _BEYOND.match(name))}


def onnx() -> dict[str, list[str]]:
    """Return the operators of each domain that is a standard, and those that onnxruntime adds."""
    import onnx.defs
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    found: dict[str, set[str]] = {}
    for operator in (*onnx.defs.get_all_schemas_with_history(), *runtime.get_all_operator_schema()):
        if not operator.domain.startswith("com.") or operator.domain == "com.microsoft":
            found.setdefault(operator.domain, set()).add(operator.name)
    return {domain: sorted(names - _COMPILED) for domain, names in sorted(found.items())}


if __name__ == "__main__":
    for title, rows in {"onnx": onnx, "tensorflow": tensorflow}[sys.argv[1]]().items():
        print(f"{title or 'ai.onnx'}: {len(rows)}")
        print(textwrap.fill(" ".join(rows), 108, break_long_words=False, break_on_hyphens=False))
