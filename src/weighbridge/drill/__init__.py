"""Drill: three attackers, each a story of steps, played against a fresh registry with the real code.

What comes in is a folder to work in, a clock, entropy and the loader. What goes out is one `Played` for each
step: what was tried, what the attacker had, and which control stopped it, by the id of the check that said
no. Some attacks are not stopped but shown, and then it says to whom; some nothing stops by design, and then
it says what happens. An attack that ends otherwise than announced fails the drill.

The rule of this room: nothing of ours is replaced. Payloads are real files that are only ever read, keys and
certificates are real, rows are changed through SQLite and files through the file system, as an attacker
would; every step has a copy of the registry to itself. Neither the registry nor the configuration of whoever
runs it is touched, and no connection is opened.

Start reading at `steps` (what a step is), then `stage` (the registry that is attacked), then a story.
docs/reference/drill.md shows all of it as it is printed.
"""

STORIES: dict[str, str] = {
    # story: who attacks
    "opportunist": "may publish models for everybody to find, and holds no key of ours",
    "identity": "has stolen what a build signs with: a job's token, and later the keys above it",
    "insider": "may write what the registry keeps, on the host it runs on",
}
MODULES: dict[str, tuple[str, ...]] = {
    # story: the modules whose STEPS it plays, in this order
    "opportunist": ("opportunist",),
    "identity": ("identity", "identity_services"),
    "insider": ("insider_files", "insider_records", "insider_log", "insider_rules"),
}
