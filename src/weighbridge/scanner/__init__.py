"""Static findings: what a model's bytes say would happen when it is loaded.

What comes in is a manifest and a way to open its files; what goes out is a `core.finding.Report`:
findings, coverage counted byte by byte, and the digest of everything that influenced them.

The rule of this room: deny by default. A name is inert only when it stands, spelled out in full and
with the shape of its call, in `profiles/inert.json`; a byte is read only when a reader can say what it
is; everything else is `unlisted`, `unread` or `broken`, and blocks. Nothing that is installed on this
machine, and no file of the model, can change what a rule says. A scan never raises on what it scans.

Start reading at `engine` (one model), then `file` (what a rule is given), `routing` (what a file is and
who reads it), `pickle_rules` and `names` (verdicts on what a pickle would do).

`EXAMINERS` lists the modules that look at each file; each has `RULES`, `EXPLAINS` (the kinds of file it
reads completely) and `examine(file)`. `RULES` says which module owns which rule id, so that one rule can
be explained without loading the others. A new rule family is one file and its rows.
"""

EXAMINERS: tuple[str, ...] = (
    "weighbridge.scanner.pickle_rules",
    "weighbridge.scanner.numpy_rules",
    "weighbridge.scanner.safetensors_rules",
    "weighbridge.scanner.template_rules",
    "weighbridge.scanner.config_rules",
    "weighbridge.scanner.repository_rules",
)
