"""A build service that vouches for its jobs: signed identity tokens as a CI issues them, and who is trusted to use them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.drill.stage import BUILDER, Stage
from weighbridge.keys.files import FileKey, generate
from weighbridge.keys.public import der_of_pem
from weighbridge.registry.services import sign_here
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.demand import Demand
from weighbridge.trust.expect import ExpectedIdentity
from weighbridge.trust.issuers import AUDIENCE, TrustedIssuer, pinned_key

HOST = "https://ci.example"
REPOSITORY = "acme/models"
TRAIN = "acme/models/.github/workflows/train.yml@refs/heads/main"
LIFE = timedelta(minutes=5)
WHO = "ci-train"


@dataclass(frozen=True)
class Ci:
    """A build service with the key that signs its tokens."""

    key: FileKey

    def token(self, workflow: str, now: datetime, **changes: JSON) -> str:
        """Return the token of a job of this workflow, as GitHub Actions words it (ES256)."""
        seconds = int(now.timestamp())
        claims: dict[str, JSON] = {
            "iss": HOST,
            "aud": AUDIENCE,
            "sub": f"repo:{REPOSITORY}:ref:refs/heads/main",
            "iat": seconds,
            "nbf": seconds,
            "exp": seconds + int(LIFE.total_seconds()),
            "repository": REPOSITORY,
            "repository_owner": REPOSITORY.partition("/")[0],
            "repository_id": "1",
            "repository_owner_id": "2",
            "repository_visibility": "private",
            "workflow": "train",
            "workflow_ref": workflow,
            "workflow_sha": "a" * 40,
            "job_workflow_ref": workflow,
            "job_workflow_sha": "a" * 40,
            "event_name": "push",
            "ref": workflow.partition("@")[2],
            "sha": "a" * 40,
            "run_id": "7",
            "run_attempt": "1",
            "runner_environment": "hosted",
            **changes,
        }
        head: Mapping[str, JSON] = {"alg": "ES256", "kid": "ci", "typ": "JWT"}
        signed = f"{_base64url(canonical(dict(head)))}.{_base64url(canonical(claims))}"
        return f"{signed}.{_base64url(_raw(self.key.sign(signed.encode())))}"

    def trusted(self) -> TrustedIssuer:
        """Return the entry by which an authority believes this service, for one organisation's repositories."""
        point = der_of_pem(self.key.public_pem)[-64:]
        jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "ci"}
        jwk |= {"x": _base64url(point[:32]), "y": _base64url(point[32:])}
        return TrustedIssuer(HOST, "github", (pinned_key(jwk),), (f"{HOST}/acme",), server=HOST)


def trust(stage: Stage, *, role: Role = Role.TRAIN, project: str = "*", timestamps: int = 0) -> Ci:
    """Have the authority believe a build service, and name its training workflow for one role."""
    ci = Ci(generate("ecdsa-p256"))
    stage.publish(stage.registry.authority.with_issuer(ci.trusted()))
    expected = ExpectedIdentity(f"{HOST}/{TRAIN}", HOST)
    grown = stage.registry.authority.with_identity(
        WHO,
        "",
        (role,),
        project=project,
        valid_from=stage.clock.now(),
        evidence=Demand(timestamps=timestamps),
        keyless=expected,
    )
    stage.publish(grown)
    assert f"{HOST}/{TRAIN}" == BUILDER
    return ci


def signed(stage: Stage, statement: Statement, ci: Ci, workflow: str = TRAIN, **changes: JSON) -> Bundle:
    """Sign a statement as a job of this workflow, with the registry's own certificate authority, log and timestamps."""
    return sign_here(stage.registry, statement, ci.token(workflow, stage.clock.now(), **changes))


def _raw(signature: bytes) -> bytes:
    """Turn a DER signature into R and S of 32 bytes each (RFC 7518 section 3.4)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
