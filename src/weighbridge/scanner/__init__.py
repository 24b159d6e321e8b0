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
    "weighbridge.scanner.text_rules",
    "weighbridge.scanner.suffix_rules",
)

RULES: dict[str, str] = {
    "archive-broken": "weighbridge.scanner.archives",
    "archive-encrypted": "weighbridge.scanner.archives",
    "archive-hidden": "weighbridge.scanner.archives",
    "archive-path": "weighbridge.scanner.archives",
    "archive-polyglot": "weighbridge.scanner.engine",
    "config-broken": "weighbridge.scanner.config_rules",
    "config-class": "weighbridge.scanner.config_rules",
    "config-code": "weighbridge.scanner.config_rules",
    "config-foreign-code": "weighbridge.scanner.config_rules",
    "config-object": "weighbridge.scanner.config_rules",
    "config-path": "weighbridge.scanner.config_rules",
    "config-unread": "weighbridge.scanner.config_rules",
    "file-suffix": "weighbridge.scanner.suffix_rules",
    "findings-cut": "weighbridge.scanner.engine",
    "numpy-broken": "weighbridge.scanner.numpy_rules",
    "numpy-objects": "weighbridge.scanner.numpy_rules",
    "pickle-broken": "weighbridge.scanner.pickle_rules",
    "pickle-call": "weighbridge.scanner.pickle_rules",
    "pickle-import": "weighbridge.scanner.pickle_rules",
    "pickle-persistent": "weighbridge.scanner.pickle_rules",
    "pickle-polyglot": "weighbridge.scanner.engine",
    "pickle-streams": "weighbridge.scanner.pickle_rules",
    "pickle-trailing": "weighbridge.scanner.pickle_rules",
    "pickle-unlisted": "weighbridge.scanner.pickle_rules",
    "repository-code": "weighbridge.scanner.repository_rules",
    "repository-import": "weighbridge.scanner.repository_rules",
    "repository-program": "weighbridge.scanner.repository_rules",
    "repository-requirements": "weighbridge.scanner.repository_rules",
    "repository-script": "weighbridge.scanner.repository_rules",
    "repository-secret": "weighbridge.scanner.repository_rules",
    "safetensors-broken": "weighbridge.scanner.safetensors_rules",
    "template-broken": "weighbridge.scanner.template_rules",
    "template-code": "weighbridge.scanner.template_rules",
    "template-unlisted": "weighbridge.scanner.template_rules",
    "template-unread": "weighbridge.scanner.template_rules",
    "torch-layout": "weighbridge.scanner.torch_layout",
    "unread-budget": "weighbridge.scanner.engine",
    "unread-file": "weighbridge.scanner.engine",
    "unread-format": "weighbridge.scanner.engine",
    "unread-pointer": "weighbridge.scanner.text_rules",
}
