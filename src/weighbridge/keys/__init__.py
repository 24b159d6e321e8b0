"""Key material behind one port.

What comes in are bytes to sign, or a public key with a signature to check; what goes out are signatures
and plain yes or no. `ports.Signer` is all that other rooms know of a private key: its algorithm, its
public half, the digest that names it, and `sign`. `files` keeps private keys as PKCS #8 in a file that
only its owner can read; later signers (PKCS #11, key services) stand beside it behind the same port.
`public` is the half that needs no secret: reading a public key, naming it, checking a signature.

The rule of this room: no secret ever leaves it in an error, a log line or a `repr`, and passwords come
from the caller (never from a prompt, the environment or a command line read here). Two algorithms are
known, Ed25519 and ECDSA over P-256 with SHA-256. A key has exactly one accepted spelling, so that its
digest names it: `public.key_id_of_pem` refuses every other encoding of the same point.

Start reading at `ports`, then `public`.
"""
