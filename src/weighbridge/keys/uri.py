"""Keys that never come here: PKCS #11 tokens and key services of clouds, named by a URI, behind the port `Signer`.

The protocols are securesystemslib's; what is ours is how a key is named, that nothing secret is in its name, what a
failure says, and that no signature leaves before it was checked against the public key.

| reference | is | its library also reads |
|---|---|---|
| `pkcs11:token=LABEL;id=%01?module-path=FILE` | a token (RFC 7512), P-256 or P-384 | `PYKCS11LIB`, the module, where the URI names none |
| `awskms:///KEY` | AWS: key id, ARN or alias; P-256, P-384, RSA | `AWS_…`, also `AWS_ENDPOINT_URL_KMS` |
| `gcpkms://projects/…/cryptoKeyVersions/N` | Google Cloud; P-256, P-384, RSA with PKCS #1 | `GOOGLE_APPLICATION_CREDENTIALS` |
| `azurekms://VAULT/KEY` | Azure Key Vault; P-256, P-384 | `AZURE_…` |
| `hashivault://KEY` | HashiCorp Vault, engine `transit`; Ed25519 | `VAULT_ADDR`, `VAULT_TOKEN` |
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode, urlsplit

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreachable, Unreadable, UsageError, WeighbridgeError
from weighbridge.keys.files import Password
from weighbridge.keys.ports import Algorithm
from weighbridge.keys.public import algorithm_of_pem, key_id_of_pem, pem_of_der, verify_signature

if TYPE_CHECKING:
    from securesystemslib.signer import Signer as Library
    from securesystemslib.signer import SSlibKey

EXTRAS = {"pkcs11": "pkcs11", "awskms": "kms", "gcpkms": "kms", "azurekms": "kms", "hashivault": "kms"}
"""Each scheme of URI, and the extra that brings its libraries."""

_SECRETS = ("VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_GCP = re.compile(
    r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[1-9][0-9]*"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")

_TURN = threading.Lock()
"""One call at a time: a token knows one login for each program, and its library finds its module in the environment."""


class UriKey:
    """A key somewhere else, as the `Signer` port wants it."""

    __slots__ = ("_ask", "_library", "_module", "_reference", "algorithm", "key_id", "public_pem")

    algorithm: Algorithm
    public_pem: str
    key_id: Digest

    def __init__(self, reference: str, library: Library, pem: str, module: str, ask: _Ask) -> None:
        self._reference = reference
        self._library = library
        self._module = module
        self._ask = ask
        self.public_pem = pem
        self.algorithm = algorithm_of_pem(pem)
        self.key_id = key_id_of_pem(pem)

    def __repr__(self) -> str:
        return f"UriKey({self._reference}, {self.algorithm}, {self.key_id.short})"

    def __reduce__(self) -> str:
        raise TypeError("a key somewhere else is not copied or serialised; open it with its reference")

    def sign(self, data: bytes) -> bytes:
        """Return a signature over `data` (see `ports.Signer.sign`), checked with the public key.

        Raises Unreachable(key.service), Unreadable(key.password) for a wrong PIN, and Refused(key.signature) when what
        came back is no signature by this key, for instance one with another padding.
        """
        with _TURN, _module(self._module), _own_errors(self._reference, self._ask):
            signature = bytes.fromhex(self._library.sign(data).signature)
        if not verify_signature(self.public_pem, data, signature):
            raise Refused(
                f"{self._reference} gave a signature that is not by its key",
                cause="the key may have another version, or sign with another hash or padding than we verify",
                remedy="use a key for ECDSA (P-256, P-384), Ed25519, or RSA with PKCS #1 v1.5 and SHA-256",
                check="key.signature",
            )
        return signature


def open_uri(reference: str, *, password: Password = None, offline: bool = False) -> UriKey:
    """Find a key by its URI and read its public half.

    `password` is the PIN of a token, or how to ask for it; services take who asks from their own environment.
    Raises UsageError(key.uri) for a URI that cannot be used, UsageError(key.extra) where its library is not
    installed, Unreachable when working offline (tokens need no network), and what `UriKey.sign` raises.
    """
    scheme = reference.partition(":")[0]
    extra = EXTRAS.get(scheme)
    if extra is None:
        raise _unusable(reference, f"its scheme is none of {', '.join(EXTRAS)}")
    ask, module = _Ask(reference, password), ""
    if scheme == "pkcs11":
        key_id, label, module = _token(reference)
    elif offline:
        raise Unreachable(
            f"{reference} was not asked",
            cause="working offline, and the key is in a service",
            remedy="leave out --offline, or sign with a key of this machine",
            check="net.offline",
        )
    try:
        from securesystemslib import signer as library
    except ImportError:
        raise _missing(reference, extra) from None
    with _TURN, _module(module), _own_errors(reference, ask):
        if scheme == "pkcs11":
            _, public = library.HSMSigner.import_(key_id, label or None, ask)
            uri = f"hsm:{key_id}" + (f"?{urlencode({'label': label})}" if label else "")
        else:
            uri, public = _SERVICES[scheme](reference)
        opened = library.Signer.from_priv_key_uri(uri, public, ask)
    return UriKey(reference, opened, _pem(reference, public), module, ask)


class _Ask:
    """Hand out the PIN when a library wants it; the user is asked once."""

    def __init__(self, reference: str, password: Password) -> None:
        self._reference = reference
        self._password = password
        self.known = password if isinstance(password, str) else ""
        self.wrong = False

    def __call__(self, _what: str) -> str:
        if self.wrong:  # the same PIN again would only bring the token nearer to locking itself
            raise _wrong_pin(self._reference)
        if not self.known:
            if not callable(self._password):
                raise UsageError(
                    f"{self._reference} is behind a PIN",
                    remedy="give its PIN (the command line reads WEIGHBRIDGE_KEY_PASSWORD)",
                    check="key.password",
                )
            self.known = self._password()
        return self.known

    def __repr__(self) -> str:
        return f"_Ask({self._reference})"


def _token(reference: str) -> tuple[int, str, str]:
    """Take a PKCS #11 URI (RFC 7512) apart: id of the key, label of its token, path of the module."""
    path, _, query = reference.removeprefix("pkcs11:").partition("?")
    pairs = [part.partition("=")[::2] for part in path.split(";") if part]
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "pin-value" in options or "pin-source" in options:
        raise _unusable(
            reference.partition("?")[0],
            "it carries a PIN, which every user of this machine could read from the list of processes",
            "leave the PIN out; it is asked for, or read from WEIGHBRIDGE_KEY_PASSWORD",
        )
    known = {"token", "id", "type"}
    odd = sorted({name for name, _ in pairs} - known) + sorted(set(options) - {"module-path"})
    attributes = dict(pairs)
    if odd or len(attributes) != len(pairs) or attributes.get("type", "private") != "private":
        raise _unusable(
            reference, f"known are token, id and module-path, each once; not {', '.join(odd) or 'this'}"
        )
    number = unquote_to_bytes(attributes.get("id", ""))
    if not number or number[0] == 0 or len(number) > 32:
        raise _unusable(reference, "it needs the id of the key, bytes of which the first is not zero: id=%01")
    module = options.get("module-path", "") or os.environ.get("PYKCS11LIB", "")
    if not module.startswith("/"):
        raise _unusable(
            reference,
            "it does not say which PKCS #11 module talks to the token",
            "add ?module-path=/path/to/module.so, or set PYKCS11LIB to that path",
        )
    label = unquote_to_bytes(attributes.get("token", "")).decode("utf-8", "replace")
    return int.from_bytes(number, "big"), label, module


def _aws(reference: str) -> tuple[str, SSlibKey]:
    from securesystemslib.signer import AWSSigner

    host, name = _host_and_path(reference)
    if host or not name:
        raise _unusable(
            reference,
            "it is not awskms:///KEY",
            "set AWS_ENDPOINT_URL_KMS to use another address than AWS's own",
        )
    uri, public = AWSSigner.import_(name)
    if public.keytype == "rsa":  # its first choice would be PSS, which we do not verify
        uri, public = AWSSigner.import_(name, "rsa-pkcs1v15-sha256")
    return uri, public


def _gcp(reference: str) -> tuple[str, SSlibKey]:
    from securesystemslib.signer import GCPSigner

    host, path = _host_and_path(reference)
    name = f"{host}/{path}".replace("/versions/", "/cryptoKeyVersions/")
    if not _GCP.fullmatch(name):
        raise _unusable(
            reference,
            "it does not name one version of a key",
            "write gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N",
        )
    return GCPSigner.import_(name)


def _azure(reference: str) -> tuple[str, SSlibKey]:
    from securesystemslib.signer import AzureSigner

    host, name = _host_and_path(reference)
    vault = host.removesuffix(".vault.azure.net")
    if not _NAME.fullmatch(name) or not re.fullmatch(r"[A-Za-z0-9-]{3,24}", vault):
        raise _unusable(reference, "it is not azurekms://VAULT/KEY")
    return AzureSigner.import_(vault, name)


def _vault(reference: str) -> tuple[str, SSlibKey]:
    from securesystemslib.signer import VaultSigner

    host, path = _host_and_path(reference)
    if path or not _NAME.fullmatch(host):
        raise _unusable(reference, "it is not hashivault://KEY")
    address = urlsplit(os.environ.get("VAULT_ADDR", ""))
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
        raise _unusable(
            reference,
            "VAULT_ADDR is not set to https://HOST, and the token would go out in the clear",
            "set VAULT_ADDR to the address of your Vault, and VAULT_TOKEN to your token",
        )
    return VaultSigner.import_(host)


_SERVICES: dict[str, Callable[[str], tuple[str, SSlibKey]]] = {
    "awskms": _aws,
    "gcpkms": _gcp,
    "azurekms": _azure,
    "hashivault": _vault,
}


def _host_and_path(reference: str) -> tuple[str, str]:
    """Split `scheme://host/path`, keeping capitals, which a URL's host would lose."""
    _, _, rest = reference.partition("://")
    host, _, path = rest.partition("/")
    return host, path


def _pem(reference: str, public: SSlibKey) -> str:
    """Write a library's public key in our one spelling."""
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    text = public.keyval["public"]
    with _own_errors(reference, None):
        key: Any
        if public.keytype == "ed25519":
            key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
        else:
            key = load_pem_public_key(text.encode())
        return pem_of_der(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@contextmanager
def _module(path: str) -> Iterator[None]:
    """Say where the PKCS #11 module is, the way the library wants to hear it; only inside `_TURN`."""
    before = os.environ.get("PYKCS11LIB")
    if path:
        os.environ["PYKCS11LIB"] = path
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYKCS11LIB", None)
        else:
            os.environ["PYKCS11LIB"] = before


@contextmanager
def _own_errors(reference: str, ask: _Ask | None) -> Iterator[None]:
    """Turn whatever five foreign libraries raise into one error of ours, without a secret in it."""
    try:
        yield
    except WeighbridgeError:
        raise
    except Exception as error:  # noqa: BLE001 (their errors have no common class; none of them may escape)
        _reword(reference, ask, error)


def _reword(reference: str, ask: _Ask | None, error: Exception) -> NoReturn:
    kind = type(error).__name__
    if kind == "UnsupportedLibraryError":
        raise _missing(reference, EXTRAS[reference.partition(":")[0]]) from None
    if kind in ("PinIncorrect", "PinInvalid", "PinLenRange"):
        if ask:
            ask.wrong = True
        raise _wrong_pin(reference) from None
    text = " ".join(str(error).split())
    for secret in (ask.known if ask else "", *(os.environ.get(name, "") for name in _SECRETS)):
        text = text.replace(secret, "…") if secret else text
    raise Unreachable(
        f"{reference} cannot be used",
        cause=f"{kind}: {text}"[:300].rstrip(": "),
        remedy="check the reference, that you may use the key, and that its service or token is there",
        check="key.service",
    ) from None


def _wrong_pin(reference: str) -> Unreadable:
    return Unreadable(
        f"{reference} did not open",
        cause="the PIN is wrong; after a few wrong ones a token locks itself",
        remedy="check the PIN before you try again",
        check="key.password",
    )


def _missing(reference: str, extra: str) -> UsageError:
    return UsageError(
        f"{reference} needs libraries that are not installed",
        cause=f"keys of this kind come with the extra {extra}",
        remedy=f"pip install 'weighbridge[{extra}]'",
        check="key.extra",
    )


def _unusable(reference: str, cause: str, remedy: str = "") -> UsageError:
    return UsageError(
        f"{reference} does not name a key",
        cause=cause,
        remedy=remedy or "write it as docs/reference/keys.md shows",
        check="key.uri",
    )
