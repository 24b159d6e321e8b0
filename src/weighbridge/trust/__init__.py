"""Who signed, and is it true.

What comes in are statements to sign, or bundles of strangers with the signed authority to hold them
against; what goes out are bundles, or verified values that say what was proven, by which key and when.
Formats are other people's: DSSE, Sigstore bundles, Rekor entries, RFC 6962 proofs, X.509, RFC 3161, TUF.

The rules of this room: verifying does no input or output and is told the time; only the authority says
who may sign what and how much proof that takes, never the bundle; every refusal names its check; what
cannot be verified is refused. `authority` itself is believed only under a root key that the caller
pinned, unexpired, and not older than the caller has seen.

| module | is for |
|---|---|
| `verify` | the numbered steps from bytes to belief; start reading here |
| `prove` | what a bundle proves, given `roots` and a `demand`; the modules it imports are its steps |
| `bundle`, `dsse` | what was signed and the proofs that came with it; `trusted_root` reads other people's roots |
| `authority` | who may do what; `authority_form` reads the document, `authority_file` signs and believes it |
| `expect` | who is expected to have signed; `oms` reads and writes OpenSSF model signatures |
| `seal` | making bundles with a key: sign, log, prove; `signers` opens keys, `ambient` and `public` use others' identity |
| `keyless` | making them without one: `oidc` believes a token, `ca` certifies, `ctlog` shows it, `tsa` stamps |
| `signing_config`, `tuf_repository` | what clients are told |
"""
