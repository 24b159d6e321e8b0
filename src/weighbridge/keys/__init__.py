"""Key material behind one port.

What comes in are bytes to sign, or a public key with a signature to check; what goes out are signatures
and plain yes or no. `ports.Signer` is all that other rooms know of a private key: its algorithm, its
public half, the digest that names it, and `sign`. `files` keeps private keys as PKCS #8 in a file that
only its owner can read, `protected` puts them under a password, `uri` asks tokens and key services that never
give theirs away. `public` is the half that needs no secret: naming a public key, checking a signature;
`spelling` says how one is written.

The rule of this room: no secret ever leaves it in an error, a log line or a `repr`, and passwords come
from the caller (never from a prompt, the environment or a command line read here). A key has exactly one
accepted spelling, so that its digest names it, and each kind of key signs in exactly one way, so that nobody
can choose a weaker one.

Start reading at `ports`, then `public`; docs/reference/keys.md tells users the same.
"""
