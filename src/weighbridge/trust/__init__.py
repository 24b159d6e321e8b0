"""Who signed, and is it true.

What comes in are statements to sign, or bundles of strangers with the signed authority to hold them
against; what goes out are bundles, or verified values that say what was proven, by which key and when.
Formats are other people's: DSSE envelopes, Sigstore bundles v0.3, Rekor v1 log entries, RFC 6962 proofs.
docs/reference/bundle.md and authority.md write our profile of them down, with test vectors.

The rules of this room: verifying does no input or output and is told the time; only the authority says
who may sign what and how much proof that takes, never the bundle; every refusal names its check; what
cannot be verified is refused. `authority` itself is believed only under a root key that the caller
pinned, unexpired, and not older than the caller has seen.

| module | is for |
|---|---|
| `dsse` | the signed envelope |
| `bundle` | an envelope with its key and its log proof; `log_body` is what the log keeps of it |
| `seal` | making bundles: sign, log, prove |
| `authority` | who may do what; `authority_form` reads the document, `authority_file` signs and believes it |
| `verify` | the numbered steps from bytes to belief; start reading here |
"""
