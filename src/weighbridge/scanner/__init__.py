"""Static findings: what a model's bytes say would happen when it is loaded.

What comes in is a manifest and a way to open its files; what goes out is a `core.finding.Report`:
findings, coverage counted byte by byte, and the digest of everything that influenced them.

The rule of this room: deny by default. A name is inert only when it stands, spelled out in full and
with the shape of its call, in `profiles/inert.json`; a byte is read only when a reader can say what it
is; everything else is `unlisted`, `unread` or `broken`, and blocks. Nothing that is installed on this
machine, and no file of the model, can change what a rule says. A scan never raises on what it scans.

Start reading at `engine` (one model), then `file` (what a rule is given), `routing` (what a file is and
who reads it), `pickle_rules` and `names` (verdicts on what a pickle would do).

`PROBES` name what has no magic number; `CONTAINERS` open files that hold files; `LAYOUTS` know what a zip archive
is laid out as; `EXAMINERS` look at each file, and `EXPLAINS` in each says which kinds it reads completely. `RULES`
says who owns which rule id. A new format is a reader in `formats`, one file here, and its rows.
"""

PROBES: tuple[str, ...] = (
    "weighbridge.scanner.tar_rules",
    "weighbridge.scanner.hdf5_rules",
    "weighbridge.scanner.compressed_rules",
    "weighbridge.scanner.wire_probe",
    "weighbridge.scanner.onnx_rules",
    "weighbridge.scanner.tensorflow_rules",
    "weighbridge.scanner.boosting_rules",
    "weighbridge.scanner.flax_rules",
)
"""Modules with `probe(file) -> str | None`: the kind of what is neither text nor announced by its first bytes."""

CONTAINERS: dict[str, str] = {
    "zip": "weighbridge.scanner.archives",
    "torch-legacy": "weighbridge.scanner.torch_layout",
    "gzip": "weighbridge.scanner.compressed_rules",
    "zlib": "weighbridge.scanner.compressed_rules",
    "zfile": "weighbridge.scanner.compressed_rules",
    "bzip2": "weighbridge.scanner.compressed_rules",
    "xz": "weighbridge.scanner.compressed_rules",
    "lzma": "weighbridge.scanner.compressed_rules",
    "lz4": "weighbridge.scanner.compressed_rules",
    "zstd": "weighbridge.scanner.compressed_rules",
    "tar": "weighbridge.scanner.tar_rules",
    "tflite": "weighbridge.scanner.tflite_rules",
}
"""Kind to the module whose `read(file, descend) -> Part` judges it and, by `descend`, what it holds."""

LAYOUTS: tuple[str, ...] = (
    "weighbridge.scanner.torch_layout",
    "weighbridge.scanner.torch_export_layout",
    "weighbridge.scanner.torch_package_layout",
    "weighbridge.scanner.keras_layout",
    "weighbridge.scanner.skops_rules",
)
"""Modules with `layout(file, archive) -> Layout | None`; the first that knows a zip archive judges it."""

EXAMINERS: dict[str, str] = {
    "weighbridge.scanner.pickle_rules": "pickle",
    "weighbridge.scanner.numpy_rules": "npy",
    "weighbridge.scanner.safetensors_rules": "safetensors",
    "weighbridge.scanner.template_rules": "texts",
    "weighbridge.scanner.config_rules": "texts",
    "weighbridge.scanner.repository_rules": "any",
    "weighbridge.scanner.requirement_rules": "texts",
    "weighbridge.scanner.secret_rules": "any",
    "weighbridge.scanner.text_rules": "texts",
    "weighbridge.scanner.suffix_rules": "any",
    "weighbridge.scanner.gguf_rules": "gguf",
    "weighbridge.scanner.keras_rules": "texts",
    "weighbridge.scanner.hdf5_rules": "hdf5",
    "weighbridge.scanner.onnx_rules": "onnx onnx-data",
    "weighbridge.scanner.joblib_rules": "joblib",
    "weighbridge.scanner.skops_rules": "texts",
    "weighbridge.scanner.media_rules": "png jpeg gif webp wav",
    "weighbridge.scanner.tokenizer_rules": "sentencepiece",
    "weighbridge.scanner.markup_rules": "texts",
    "weighbridge.scanner.lookalike_rules": "any",
    "weighbridge.scanner.tensorflow_rules": "savedmodel metagraph graphdef keras-metadata tf-fingerprint tf-index tf-data",
    "weighbridge.scanner.tar_rules": "any",
    "weighbridge.scanner.boosting_rules": "ubjson",
    "weighbridge.scanner.shard_rules": "json",
    "weighbridge.scanner.flax_rules": "msgpack",
    "weighbridge.scanner.recognised_rules": "texts",
}
"""Module to the kinds it is asked about: `texts` is whatever has a text, `any` is everything. Others are not loaded."""

RULES: dict[str, str] = {
    "archive-broken": "weighbridge.scanner.archives",
    "archive-encrypted": "weighbridge.scanner.archives",
    "archive-hidden": "weighbridge.scanner.archives",
    "archive-path": "weighbridge.scanner.archives",
    "archive-polyglot": "weighbridge.scanner.engine",
    "boosting-broken": "weighbridge.scanner.boosting_rules",
    "boosting-unlisted": "weighbridge.scanner.boosting_rules",
    "compressed-broken": "weighbridge.scanner.compressed_rules",
    "compressed-streams": "weighbridge.scanner.compressed_rules",
    "compressed-text": "weighbridge.scanner.compressed_rules",
    "config-broken": "weighbridge.scanner.config_rules",
    "config-class": "weighbridge.scanner.config_rules",
    "config-code": "weighbridge.scanner.config_rules",
    "config-foreign-code": "weighbridge.scanner.config_rules",
    "config-object": "weighbridge.scanner.config_rules",
    "config-path": "weighbridge.scanner.config_rules",
    "config-unpinned": "weighbridge.scanner.config_rules",
    "config-unread": "weighbridge.scanner.config_rules",
    "file-suffix": "weighbridge.scanner.suffix_rules",
    "findings-cut": "weighbridge.scanner.engine",
    "flax-broken": "weighbridge.scanner.flax_rules",
    "flax-unlisted": "weighbridge.scanner.flax_rules",
    "gguf-broken": "weighbridge.scanner.gguf_rules",
    "gguf-shards": "weighbridge.scanner.gguf_rules",
    "gguf-unread": "weighbridge.scanner.gguf_rules",
    "hdf5-broken": "weighbridge.scanner.hdf5_rules",
    "hdf5-elsewhere": "weighbridge.scanner.hdf5_rules",
    "hdf5-hidden": "weighbridge.scanner.hdf5_rules",
    "hdf5-link": "weighbridge.scanner.hdf5_rules",
    "hdf5-pickle": "weighbridge.scanner.hdf5_rules",
    "hdf5-plugin": "weighbridge.scanner.hdf5_rules",
    "hdf5-unread": "weighbridge.scanner.hdf5_rules",
    "keras-class": "weighbridge.scanner.keras_rules",
    "keras-code": "weighbridge.scanner.keras_rules",
    "keras-layout": "weighbridge.scanner.keras_layout",
    "keras-path": "weighbridge.scanner.keras_rules",
    "markup-entity": "weighbridge.scanner.markup_rules",
    "markup-script": "weighbridge.scanner.markup_rules",
    "markup-unread": "weighbridge.scanner.markup_rules",
    "media-broken": "weighbridge.scanner.media_rules",
    "media-unread": "weighbridge.scanner.media_rules",
    "name-hidden": "weighbridge.scanner.lookalike_rules",
    "name-lookalike": "weighbridge.scanner.lookalike_rules",
    "numpy-broken": "weighbridge.scanner.numpy_rules",
    "numpy-objects": "weighbridge.scanner.numpy_rules",
    "onnx-broken": "weighbridge.scanner.onnx_rules",
    "onnx-code": "weighbridge.scanner.onnx_rules",
    "onnx-path": "weighbridge.scanner.onnx_rules",
    "onnx-unlisted": "weighbridge.scanner.onnx_rules",
    "onnx-unread": "weighbridge.scanner.onnx_rules",
    "pickle-broken": "weighbridge.scanner.pickle_rules",
    "pickle-call": "weighbridge.scanner.pickle_rules",
    "pickle-import": "weighbridge.scanner.pickle_rules",
    "pickle-persistent": "weighbridge.scanner.pickle_rules",
    "pickle-polyglot": "weighbridge.scanner.engine",
    "pickle-profile": "weighbridge.scanner.pickle_rules",
    "pickle-streams": "weighbridge.scanner.pickle_rules",
    "pickle-trailing": "weighbridge.scanner.pickle_rules",
    "pickle-unlisted": "weighbridge.scanner.pickle_rules",
    "remote-unverified": "weighbridge.scanner.engine",
    "repository-code": "weighbridge.scanner.repository_rules",
    "repository-import": "weighbridge.scanner.repository_rules",
    "repository-program": "weighbridge.scanner.repository_rules",
    "repository-requirements": "weighbridge.scanner.requirement_rules",
    "repository-script": "weighbridge.scanner.repository_rules",
    "repository-secret": "weighbridge.scanner.secret_rules",
    "safetensors-broken": "weighbridge.scanner.safetensors_rules",
    "safetensors-shards": "weighbridge.scanner.shard_rules",
    "skops-class": "weighbridge.scanner.skops_rules",
    "skops-code": "weighbridge.scanner.skops_rules",
    "skops-profile": "weighbridge.scanner.skops_rules",
    "tar-polyglot": "weighbridge.scanner.tar_rules",
    "template-broken": "weighbridge.scanner.template_rules",
    "template-code": "weighbridge.scanner.template_rules",
    "template-unlisted": "weighbridge.scanner.template_rules",
    "template-unread": "weighbridge.scanner.template_rules",
    "tensorflow-broken": "weighbridge.scanner.tensorflow_rules",
    "tensorflow-code": "weighbridge.scanner.tensorflow_rules",
    "tensorflow-files": "weighbridge.scanner.tensorflow_rules",
    "tensorflow-unlisted": "weighbridge.scanner.tensorflow_rules",
    "tensorflow-unread": "weighbridge.scanner.tensorflow_rules",
    "tflite-broken": "weighbridge.scanner.tflite_rules",
    "tflite-unlisted": "weighbridge.scanner.tflite_rules",
    "tflite-unread": "weighbridge.scanner.tflite_rules",
    "tokenizer-broken": "weighbridge.scanner.tokenizer_rules",
    "tokenizer-unread": "weighbridge.scanner.tokenizer_rules",
    "torch-layout": "weighbridge.scanner.torch_layout",
    "torch-tar": "weighbridge.scanner.tar_rules",
    "torchscript-code": "weighbridge.scanner.torch_layout",
    "torchscript-operator": "weighbridge.scanner.torch_layout",
    "torchscript-program": "weighbridge.scanner.torch_layout",
    "unread-budget": "weighbridge.scanner.engine",
    "unread-file": "weighbridge.scanner.engine",
    "unread-format": "weighbridge.scanner.engine",
    "unread-pointer": "weighbridge.scanner.text_rules",
    "unread-text": "weighbridge.scanner.recognised_rules",
}
