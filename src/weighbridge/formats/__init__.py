"""Read model files without running them.

What comes in are bytes, or a file opened for reading, and `limits.Limits`. What goes out are plain
descriptions: opcodes and events of a pickle, members of an archive, tensors of a safetensors header.

The rule of this room: nothing here executes, imports or resolves what a file names, nothing touches the
network or a tensor library, and no declared length is believed before it is compared with what remains.
A reader that meets something it does not understand says so with an offset; it never guesses and never
skips. Content decides what a file is, never its name.

Start reading at `sniff` (what is this?), then `pickle_ops` (opcodes, and the machine that names what
loading would do), `archive` (zip), `npy`, and `safetensors`.

`READERS` names the reader of each format: a row is the format, its first bytes (empty where they do
not tell), usual suffixes, and the module. A new reader is one file and one row.
"""

READERS: tuple[tuple[str, bytes, str, str], ...] = (
    ("zip", b"PK\x03\x04", ".zip .pt .pth .bin .npz", "weighbridge.formats.archive"),
    ("npy", b"\x93NUMPY", ".npy", "weighbridge.formats.npy"),
    ("pickle", b"\x80", ".pkl .pickle .pt .pth .bin .joblib", "weighbridge.formats.pickle_ops"),
    ("safetensors", b"", ".safetensors", "weighbridge.formats.safetensors"),
)
