"""Sign and verify with somebody else's Sigstore, public or private, through the library `sigstore` (the extra sigstore).

Our own services and our own verifier need none of this. It is for teams that want the public log's word, and as a
second opinion by code that is not ours. The library brings its own HTTP client and reads its own clock; it is used
here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreachable, UsageError, VerificationFailed, WeighbridgeError

PUBLIC_HOSTS = ("sigstore.dev", "sigstage.dev")
"""Domains of the instances that everybody can read, for production and for trying out."""

WHAT_BECOMES_PUBLIC = """\
Signing with the public Sigstore writes into logs that everybody can read, copy and search, and from which nothing is
ever removed. Written there for good:
- who signed: the e-mail address you log in with; for a job its workflow and, with GitHub or GitLab, the names of the
  repository, its owner, the branch, the commit, the run and whether the repository is private;
- when: the second at which it was signed;
- what: the SHA-256 digest of the signed statement or file and the signature. Whoever has the same bytes can tell that
  you signed them. The statement itself and the model's files are not sent.
The services and whoever carries your connection also see your network address."""


def sign_statement(
    statement: bytes,
    token: str,
    *,
    instance: bytes | None = None,
    public: bool = False,
    offline: bool = False,
) -> bytes:
    """Sign an in-toto statement without a key of one's own; returns the bundle as JSON.

    `instance` is a ClientTrustConfig (JSON) of a private Sigstore; None means the public one, which, like every instance
    on its hosts, is used only with `public=True`. Raises UsageError(public.consent), UsageError(sigstore.extra),
    Refused(token.form) for a token the library will not send, Unreachable, VerificationFailed.
    """
    _agreed(instance, public=public, offline=offline)
    with _own_errors(token):
        from sigstore import dsse

        with _signer(instance, token) as signer:
            return _written(signer.sign_dsse(dsse.Statement(statement)))


def sign_digest(
    digest: Digest, token: str, *, instance: bytes | None = None, public: bool = False, offline: bool = False
) -> bytes:
    """Sign a file by its SHA-256 digest; returns the bundle as JSON. Everything else is as in `sign_statement`."""
    _agreed(instance, public=public, offline=offline)
    with _own_errors(token), _signer(instance, token) as signer:
        return _written(signer.sign_artifact(_hashed(digest)))


def verify_statement(
    bundle: bytes, *, identity: str, issuer: str, trusted_root: bytes | None = None
) -> tuple[str, bytes]:
    """Let the library verify an envelope; returns its payload's type and the payload.

    `trusted_root` is a Sigstore trusted root (JSON); None takes the public one that came with the library or that
    it fetched before: nothing is asked over the network. Whether the statement is about the file at hand is for
    the caller to check. Raises VerificationFailed(sigstore.verify) and UsageError(sigstore.extra).
    """
    with _own_errors(""):
        from sigstore.verify import Verifier, policy

        who = policy.Identity(identity=identity, issuer=issuer)
        kind, payload = Verifier(trusted_root=_root(trusted_root)).verify_dsse(_read(bundle), who)
        return str(kind), bytes(payload)


def verify_digest(
    bundle: bytes, digest: Digest, *, identity: str, issuer: str, trusted_root: bytes | None = None
) -> None:
    """Let the library verify a signature over a file with this SHA-256 digest; raises as `verify_statement`."""
    with _own_errors(""):
        from sigstore.verify import Verifier, policy

        who = policy.Identity(identity=identity, issuer=issuer)
        Verifier(trusted_root=_root(trusted_root)).verify_artifact(_hashed(digest), _read(bundle), who)


def browser_token(issuer: str, *, public: bool = False, offline: bool = False) -> str:
    """Log in at an issuer (an address with OpenID Connect) in a browser, and return the identity token.

    The library opens the browser, and asks on the terminal where there is none.
    """
    if _is_public(issuer) and not public:
        raise _consent()
    _online(offline=offline)
    with _own_errors(""):
        from sigstore.oidc import Issuer

        return str(Issuer(issuer).identity_token())


def _agreed(instance: bytes | None, *, public: bool, offline: bool) -> None:
    if (instance is None or any(_is_public(text) for text in _texts(_config(instance)))) and not public:
        raise _consent()
    _online(offline=offline)


def _consent() -> UsageError:
    return UsageError(
        "the public Sigstore was not used",
        cause=WHAT_BECOMES_PUBLIC,
        remedy="give --public if that is what you want, or sign with your own registry's services",
        check="public.consent",
    )


def _online(*, offline: bool) -> None:
    if offline:
        raise Unreachable(
            "Sigstore's services were not asked",
            cause="working offline",
            remedy="leave out --offline, or sign with your own registry's services",
            check="net.offline",
        )


def _is_public(text: str) -> bool:
    try:
        host = (urlsplit(text).hostname or "").rstrip(".")
    except ValueError:
        return False
    return any(host == name or host.endswith(f".{name}") for name in PUBLIC_HOSTS)


def _config(instance: bytes) -> Any:
    try:
        return json.loads(instance)
    except (ValueError, RecursionError):
        raise _unreadable(
            "trust configuration", "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        ) from None


def _unreadable(what: str, media_type: str) -> UsageError:
    return UsageError(
        f"this is no {what}",
        cause=f"expected JSON, {media_type}",
        remedy="take the file that the operator of that Sigstore hands out",
        check="sigstore.config",
    )


def _texts(value: Any) -> Iterator[str]:
    """Walk over every text in a document; a public address counts wherever it stands."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _signer(instance: bytes | None, token: str) -> Any:
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext

    identity = IdentityToken(token)
    trust = (
        ClientTrustConfig.production() if instance is None else ClientTrustConfig.from_json(instance.decode())
    )
    return SigningContext.from_trust_config(trust).signer(identity)


def _written(bundle: Any) -> bytes:
    return str(bundle.to_json()).encode()


def _read(bundle: bytes) -> Any:
    from sigstore.models import Bundle

    return Bundle.from_json(bundle)


def _root(data: bytes | None) -> Any:
    from sigstore.models import ClientTrustConfig, TrustedRoot
    from sigstore_models.trustroot import v1

    if data is None:
        return ClientTrustConfig.production(offline=True).trusted_root
    try:
        return TrustedRoot(v1.TrustedRoot.from_json(data))
    except ValueError:
        raise _unreadable(
            "trusted root", "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
        ) from None


def _hashed(digest: Digest) -> Any:
    from sigstore.hashes import Hashed
    from sigstore_models.common.v1 import HashAlgorithm

    if digest.algorithm != "sha256":
        raise UsageError(
            f"Sigstore's clients sign no {digest.algorithm} digests", remedy="give the file's SHA-256 digest"
        )
    return Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest.hex))


@contextmanager
def _own_errors(token: str) -> Iterator[None]:
    """Turn what the library and its HTTP client raise into errors of ours, without the token in them."""
    try:
        yield
    except WeighbridgeError:
        raise
    except ImportError as error:
        raise UsageError(
            "this needs the library sigstore, which is not installed",
            cause=f"the module {error.name} is missing" if error.name else "",
            remedy="pip install 'weighbridge[sigstore]'",
            check="sigstore.extra",
        ) from None
    except Exception as error:  # noqa: BLE001 (their errors have no common class; none of them may escape)
        _reword(error, token)


def _reword(error: Exception, token: str) -> NoReturn:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = " ".join(str(error).split()) or type(error).__name__
    text = (text.replace(token, "…") if token else text)[:500]
    if kinds & {"VerificationError", "InvalidBundle"}:
        raise VerificationFailed(
            "the library sigstore refuses this bundle",
            cause=text,
            remedy="do not use what it is about until its signer explains it",
            check="sigstore.verify",
        ) from None
    if kinds & {"IdentityError", "ExpiredIdentity"}:
        raise Refused(
            "the identity token cannot be used",
            cause=text,
            remedy="get a fresh one with the audience sigstore, and sign at once",
            check="token.form",
        ) from None
    raise Unreachable(
        "Sigstore's services gave no usable answer",
        cause=f"{type(error).__name__}: {text}" if text != type(error).__name__ else text,
        remedy="check the connection and the trust configuration, or sign with your own registry's services",
        check="sigstore.service",
    ) from None
