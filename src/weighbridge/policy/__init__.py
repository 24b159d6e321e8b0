"""Policy: from verified evidence to allow or block, and why.

What comes in is Evidence (facts that the gate has verified), the answer of a policy engine and the
time. What goes out is a Decision with a Check for each rule: expected, found, proof, remedy.

Three parts, from hard to soft. `floor` is what no policy, engine, waiver or mode can switch off.
`judge` joins the floor's checks with the engine's answer; allow needs both, so a policy can refuse what
the floor lets pass, and never the other way round. The policy itself is a few files of Rego and one `policy.toml`
(`starter/` holds ours), read and refused early by `settings` and `lint`, asked through `contract`, which
accepts an answer of exactly one shape.

The rule of this room: it is pure, apart from `engines/`, where a worker process runs Rego under limits of time
and memory. The same checks, answer and time give the same Decision, byte for byte. `cannot-tell` counts
as fail, and `judge` is the one place that says so.

Start reading at `floor`; docs/reference/floor.md is its proof table: invariant, attack, test.
"""
