"""Identity tokens: which are believed, whom they name, and each way a token can be wrong."""

import base64
import json
from dataclasses import replace
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from trust_services import NOW, Counting, service_key

from weighbridge.core.errors import BadSetting, UsageError, VerificationFailed
from weighbridge.trust.development import DevelopmentIssuer
from weighbridge.trust.issuers import DEVELOPMENT_ISSUER, TrustedIssuer, pinned_key, pinned_keys
from weighbridge.trust.oidc import MAX_TOKEN, TokenVerifier
from weighbridge.trust.roots import Window
from weighbridge.trust.tokens import SKEW

URL = "https://issuer.example"
P256 = ec.generate_private_key(ec.SECP256R1())
SECOND = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
SECONDS = int(NOW.timestamp())
ACTIONS = "https://token.actions.githubusercontent.com"

GITHUB = {
    "iss": ACTIONS,
    "sub": "repo:acme/speech:ref:refs/heads/main",
    "repository": "acme/speech",
    "repository_owner": "acme",
    "repository_id": "123",
    "repository_owner_id": "45",
    "repository_visibility": "private",
    "job_workflow_ref": "acme/builds/.github/workflows/train.yml@refs/heads/main",
    "job_workflow_sha": "aa" * 20,
    "workflow": "Train",
    "workflow_ref": "acme/speech/.github/workflows/ci.yml@refs/heads/main",
    "workflow_sha": "bb" * 20,
    "sha": "cc" * 20,
    "ref": "refs/heads/main",
    "event_name": "push",
    "runner_environment": "github-hosted",
    "run_id": "9001",
    "run_attempt": "2",
}
GITLAB = {
    "iss": "https://gitlab.com",
    "sub": "project_path:acme/speech:ref_type:branch:ref:main",
    "project_path": "acme/speech",
    "project_id": 123,
    "namespace_path": "acme",
    "namespace_id": "45",
    "project_visibility": "private",
    "ci_config_ref_uri": "gitlab.com/acme/speech//.gitlab-ci.yml@refs/heads/main",
    "ci_config_sha": "aa" * 20,
    "sha": "cc" * 20,
    "ref": "main",
    "ref_type": "branch",
    "pipeline_source": "push",
    "pipeline_id": "7",
    "job_id": "8",
    "runner_environment": "gitlab-hosted",
    "runner_id": 1,
}
CLUSTER = {
    "iss": "https://cluster.example",
    "sub": "system:serviceaccount:ml:trainer",
    "kubernetes.io": {"namespace": "ml", "serviceaccount": {"name": "trainer", "uid": "x"}},
}


def jwk(key, **changes):
    public = key.public_key() if hasattr(key, "public_key") else key
    kind = {"RSAPublicKey": jwt.algorithms.RSAAlgorithm, "Ed25519PublicKey": jwt.algorithms.OKPAlgorithm}
    maker = kind.get(type(public).__name__, jwt.algorithms.ECAlgorithm)
    row = maker.to_jwk(public, as_dict=True)
    row.pop("key_ops", None)
    return row | {"kid": "one"} | changes


def issuer(mapping="email", within=("example.org",), *, keys=None, **changes):
    values = {"url": URL, "mapping": mapping, "within": within, "keys": keys or (pinned_key(jwk(P256)),)}
    return TrustedIssuer(**(values | changes))


def claims(**changes):
    said = {
        "iss": URL,
        "aud": "sigstore",
        "sub": "0815",
        "email": "trainer@example.org",
        "email_verified": True,
        "iat": SECONDS,
        "nbf": SECONDS,
        "exp": SECONDS + 300,
    } | changes
    return {name: value for name, value in said.items() if value is not ...}


def signed(said=None, key=P256, algorithm="ES256", headers=None):
    return jwt.encode(said or claims(), key, algorithm=algorithm, headers={"kid": "one"} | (headers or {}))


def verify(token, trusted=None, now=NOW):
    return TokenVerifier([trusted or issuer()]).verify(token, now)


def refused(token, trusted=None, now=NOW):
    with pytest.raises(VerificationFailed) as caught:
        verify(token, trusted, now)
    assert caught.value.remedy
    return caught.value.check


def raw(header, said, signature=b"x"):
    def part(value):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    return f"{part(header)}.{part(said)}.{part(signature)}"


def test_a_token_names_whom_its_issuer_says():
    found = verify(signed())
    assert (found.issuer, found.subject, found.kind) == (URL, "trainer@example.org", "email")
    assert found.challenges == ("0815", "trainer@example.org")
    assert found.expires == NOW + timedelta(seconds=300)
    assert dict(found.claims) == {}


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (P256, "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        (RSA, "RS256"),
        (RSA, "PS384"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_key(key, algorithm):
    assert verify(signed(key=key, algorithm=algorithm), issuer(keys=(pinned_key(jwk(key)),)))


def test_a_key_is_used_with_its_own_algorithm_only():
    only = issuer(keys=(pinned_key(jwk(RSA, alg="RS256")),))
    assert verify(signed(key=RSA, algorithm="RS256"), only)
    assert refused(signed(key=RSA, algorithm="RS512"), only) == "token.key"
    assert refused(signed(key=RSA, algorithm="RS256")) == "token.key"  # pinned is a P-256 key


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "nOnE", "HS256", "HS512", "ES256K", "", None, 7, ["ES256"]]
)
def test_algorithms_nobody_signs_with(algorithm):
    assert refused(raw({"alg": algorithm, "kid": "one"}, claims())) == "token.algorithm"


def test_the_public_key_is_no_secret_to_sign_with():
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    import hashlib
    import hmac

    head = raw({"alg": "HS256", "kid": "one"}, claims()).rpartition(".")[0]
    mac = base64.urlsafe_b64encode(hmac.digest(pem, head.encode(), hashlib.sha256)).decode().rstrip("=")
    assert refused(f"{head}.{mac}", issuer(keys=(pinned_key(jwk(RSA)),))) == "token.algorithm"


@pytest.mark.parametrize(
    ("headers", "check"),
    [
        ({"crit": ["exp"], "exp": 1}, "token.algorithm"),
        ({"typ": "at+jwt"}, "token.algorithm"),
        ({"typ": 7}, "token.algorithm"),
        ({"kid": 7}, "token.algorithm"),
        ({"b64": False}, "token.algorithm"),
        ({"kid": "two"}, "token.key"),
        ({"kid": ""}, "token.key"),
    ],
)
def test_headers_that_are_refused(headers, check):
    assert refused(raw({"alg": "ES256", "kid": "one"} | headers, claims())) == check


def test_a_token_cannot_bring_its_key():
    for brought in (
        {"jwk": jwk(SECOND)},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example"},
    ):
        assert refused(signed(key=SECOND, headers=brought)) == "token.signature"
        assert verify(signed(headers=brought))


@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_part_is_covered(part):
    pieces = signed().split(".")
    other = signed(claims(email="ceo@example.org"), headers={"x": "y"}).split(".")
    pieces[part] = other[part]
    assert refused(".".join(pieces)) == "token.signature"


@given(st.text(max_size=60))
def test_anything_else_is_not_a_token(text):
    assert refused(text) == "token.form"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        signed() + "=",
        " " + signed(),
        signed() + "\n",
        "x" * 20_000,
        raw(b"[]", claims()),
        raw({"alg": "ES256"}, b"7"),
        raw({"alg": "ES256"}, b'{"iss":"a","iss":"b"}'),
        raw({"alg": "ES256"}, b'{"exp":NaN}'),
        raw(b'{"alg":"ES256","alg":"none"}', claims()),
        raw({"alg": "ES256"}, b"\xff\xfe"),
        raw({"alg": "ES256"}, b"[" * 5000),
        ".".join((*signed().split(".")[:2], "AB")),  # bits beyond the last octet
    ],
)
def test_forms_that_are_refused(token):
    assert refused(token) == "token.form"


@pytest.mark.parametrize("url", [URL + "/", "HTTPS://issuer.example", URL.upper(), "", None, 7, [URL], ...])
def test_the_issuer_is_named_exactly(url):
    assert (
        refused(signed(claims(iss=url)) if isinstance(url, str) else raw({"alg": "ES256"}, claims(iss=url)))
        == "token.issuer"
    )


@pytest.mark.parametrize(
    "audience", ["", "other", "sigstore ", ["sigstore", "other"], [], ["other"], None, ..., {"sigstore": 1}]
)
def test_a_token_is_for_us_alone(audience):
    assert refused(signed(claims(aud=audience))) == "token.audience"


def test_an_audience_may_stand_in_a_list():
    assert verify(signed(claims(aud=["sigstore"])))


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({"exp": SECONDS + 1}, True),
        ({"iat": SECONDS - 100, "exp": SECONDS - 59}, True),
        ({"iat": SECONDS - 100, "exp": SECONDS - 60}, False),
        ({"nbf": SECONDS + 60}, True),
        ({"nbf": SECONDS + 61}, False),
        ({"nbf": ...}, True),
        ({"iat": SECONDS + 60, "nbf": ...}, True),
        ({"iat": SECONDS + 61, "nbf": ...}, False),
        ({"iat": SECONDS - 3660}, True),
        ({"iat": SECONDS - 3661}, False),
        ({"exp": SECONDS}, False),
        ({"iat": SECONDS - 0.5}, True),
        ({"exp": ...}, False),
        ({"iat": ...}, False),
        ({"exp": None}, False),
        ({"exp": str(SECONDS + 300)}, False),
        ({"exp": True}, False),
        ({"exp": 1e300}, False),
        ({"iat": -1}, False),
        ({"nbf": "soon"}, False),
        ({"nbf": True}, False),
        ({"nbf": 0}, True),
        ({"exp": 253_370_764_800}, True),
        ({"exp": 253_370_764_801}, False),
    ],
)
def test_times(changes, good):
    token = jwt.api_jws.encode(
        json.dumps(claims(**changes)).encode(), P256, algorithm="ES256", headers={"kid": "one"}
    )
    if good:
        assert verify(token)
    else:
        assert refused(token) == "token.time"
    assert timedelta(seconds=60) == SKEW


def test_a_year_old_token_of_a_cluster_needs_an_issuer_that_says_so():
    old = signed(claims(iat=SECONDS - 86_400 * 300, nbf=..., exp=SECONDS + 86_400))
    assert refused(old) == "token.time"
    assert verify(old, issuer(max_age=timedelta(days=365)))


def test_keys_rotate_with_windows():
    change = NOW + timedelta(hours=1)
    keys = (
        pinned_key(jwk(P256), Window(None, change)),
        pinned_key(jwk(SECOND, kid="two"), Window(change - timedelta(minutes=30), None)),
    )
    trusted = issuer(keys=keys, max_age=timedelta(days=1))
    early, late = (
        signed(claims(exp=SECONDS + 9999)),
        signed(claims(exp=SECONDS + 9999), SECOND, headers={"kid": "two"}),
    )
    assert verify(early, trusted, NOW)
    assert refused(late, trusted, NOW) == "token.key"
    for both in (early, late):
        assert verify(both, trusted, change)
    after = change + timedelta(seconds=1)
    assert refused(early, trusted, after) == "token.key"
    assert verify(late, trusted, after)


def test_a_token_without_a_key_name_is_tried_with_each():
    keys = (pinned_key(jwk(P256)), pinned_key(jwk(SECOND, kid="two")))
    token = jwt.encode(claims(), SECOND, algorithm="ES256")
    assert verify(token, issuer(keys=keys))
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert refused(jwt.encode(claims(), stranger, algorithm="ES256"), issuer(keys=keys)) == "token.signature"


def test_the_key_of_another_issuer_does_not_count():
    trusted = [issuer(), issuer(url="https://other.example", keys=(pinned_key(jwk(SECOND)),))]
    verifier = TokenVerifier(trusted)
    assert verifier.verify(signed(), NOW)
    with pytest.raises(VerificationFailed) as caught:
        verifier.verify(signed(claims(iss="https://other.example")), NOW)
    assert caught.value.check == "token.signature"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"email_verified": False}, "token.subject"),
        ({"email_verified": ...}, "token.subject"),
        ({"email_verified": "true"}, "token.subject"),
        ({"email_verified": 1}, "token.subject"),
        ({"email": ...}, "token.claims"),
        ({"email": 7}, "token.claims"),
        ({"email": ""}, "token.claims"),
        ({"email": "trainer@example.org.evil.example"}, "token.subject"),
        ({"email": "trainer@evilexample.org"}, "token.subject"),
        ({"email": "trainer@sub.example.org"}, "token.subject"),
        ({"email": "trainer@evil.example@example.org"}, "token.subject"),
        ({"email": "a b@example.org"}, "token.subject"),
        ({"email": "trainer@example.org\n"}, "token.subject"),
        ({"email": "trainer@example.org\x00"}, "token.subject"),
        ({"email": "trainer@ex\u0430mple.org"}, "token.subject"),
        ({"email": "@example.org"}, "token.subject"),
    ],
)
def test_addresses_that_are_refused(changes, check):
    assert refused(signed(claims(**changes))) == check


def test_domains_are_compared_without_case_and_everybody_must_be_written():
    assert verify(signed(claims(email="Trainer@EXAMPLE.org"))).subject == "Trainer@EXAMPLE.org"
    assert verify(signed(claims(email="x@other.example")), issuer(within=("*",))).subject == "x@other.example"


def test_an_unverified_address_is_no_challenge():
    found = verify(
        signed(claims(email_verified=False, sub="https://ci.example/a")),
        issuer("uri", ("https://ci.example",)),
    )
    assert found.challenges == ("https://ci.example/a",)


@pytest.mark.parametrize(
    ("subject", "good"),
    [
        ("https://ci.example/team", True),
        ("https://ci.example/team/job?x=1#y", True),
        ("https://ci.example/teams/job", False),
        ("https://ci.example/team.evil/job", False),
        ("https://ci.example.evil/team/", False),
        ("https://ci.example@evil.example/team/", False),
        ("http://ci.example/team/job", False),
        ("HTTPS://ci.example/team/job", False),
        ("https://ci.example/team/../other", False),
        ("https://ci.example/team/%2e%2E/other", False),
        ("https://ci.example/team/%2e%2e%2fother", False),
        ("https://ci.example/team/..%5Cother", False),
        ("https://ci.example/team/./job", False),
        ("https://ci.example/team/..", False),
        ("https://ci.example/team/a b", False),
        ("https://ci.example/team/\u00fc", False),
        ("https://ci.example/team/x\n", False),
        (" https://ci.example/team/", False),
        ("x https://ci.example/team/", False),
    ],
)
def test_uris_lie_within_their_rule(subject, good):
    trusted = issuer("uri", ("https://ci.example/team",))
    if good:
        assert verify(signed(claims(sub=subject)), trusted).subject == subject
    else:
        assert refused(signed(claims(sub=subject)), trusted) == "token.subject"


def test_a_template_puts_claims_together():
    trusted = issuer("uri", ("https://ci.example/",), template="https://ci.example/{+project}/{job}")
    found = verify(signed(claims(project="speech", job="train")), trusted)
    assert (found.subject, found.kind) == ("https://ci.example/speech/train", "uri")
    assert refused(signed(claims(project="..", job="x")), trusted) == "token.subject"
    assert refused(signed(claims(project="speech")), trusted) == "token.claims"
    assert refused(signed(claims(project="speech", job={"a": 1})), trusted) == "token.claims"
    assert verify(signed(claims(project="a/b", job="c")), trusted).subject == "https://ci.example/a/b/c"
    for job in ("b/c", "b?c", "b#c", "b%2Fc", "{sub}", "b c"):
        assert refused(signed(claims(project="a", job=job)), trusted) == "token.subject"
    # What a claim brings is not read as a template again.
    assert refused(signed(claims(project="{sub}", job="x")), trusted) == "token.subject"


@pytest.mark.parametrize(
    ("subject", "good"),
    [
        ("spiffe://acme.example/ns/ml/sa/trainer", True),
        ("spiffe://acme.example", False),
        ("spiffe://acme.example/", False),
        ("spiffe://acme.example.evil/ns", False),
        ("spiffe://evil/acme.example", False),
        ("spiffe://ACME.example/ns", False),
        ("spiffe://user@acme.example/ns", False),
        ("spiffe://acme.example:1/ns", False),
        ("spiffe://acme.example/ns/../sa", False),
        ("https://acme.example/ns", False),
    ],
)
def test_spiffe_ids_are_of_the_trust_domain(subject, good):
    trusted = issuer("spiffe", ("acme.example",))
    if good:
        assert verify(signed(claims(sub=subject)), trusted).subject == subject
    else:
        assert refused(signed(claims(sub=subject)), trusted) == "token.subject"


def test_a_service_account_becomes_a_uri():
    trusted = issuer("kubernetes", ("https://kubernetes.io/namespaces/ml",), url=CLUSTER["iss"])
    found = verify(signed(claims(**CLUSTER)), trusted)
    assert found.subject == "https://kubernetes.io/namespaces/ml/serviceaccounts/trainer"
    assert found.challenges[0] == CLUSTER["sub"]


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "system:serviceaccount:other:trainer"},
        {"sub": "system:serviceaccount:ml:trainer:x"},
        {"sub": "system:node:ml"},
        {"sub": "system:serviceaccount:ml:../x"},
        {"kubernetes.io": {"namespace": "ml", "serviceaccount": {"name": "other"}}},
        {"kubernetes.io": {"namespace": "other", "serviceaccount": {"name": "trainer"}}},
        {"kubernetes.io": {"namespace": "ml", "serviceaccount": "trainer"}},
        {"kubernetes.io": "ml"},
        {"kubernetes.io": ...},
        {
            "sub": "system:serviceaccount:mlx:trainer",
            "kubernetes.io": {"namespace": "mlx", "serviceaccount": {"name": "trainer"}},
        },
    ],
)
def test_service_accounts_that_are_refused(changes):
    trusted = issuer("kubernetes", ("https://kubernetes.io/namespaces/ml",), url=CLUSTER["iss"])
    assert refused(signed(claims(**(CLUSTER | changes))), trusted) == "token.subject"


def test_a_user_name_gets_its_domain():
    trusted = issuer("username", ("example.org",))
    found = verify(signed(claims(sub="maria")), trusted)
    assert (found.subject, found.kind) == ("maria!example.org", "other-name")
    for name in ("maria!evil.example", "maria@evil.example", "", " maria", "m\u00e4ria"):
        assert refused(signed(claims(sub=name)), trusted) in ("token.subject", "token.claims")


def test_a_github_job():
    trusted = issuer("github", ("https://github.com/acme",), url=ACTIONS)
    found = verify(signed(claims(**GITHUB)), trusted)
    workflow = "https://github.com/acme/builds/.github/workflows/train.yml@refs/heads/main"
    assert (found.subject, found.kind) == (workflow, "uri")
    assert dict(found.claims) == {
        "2": "push",
        "3": "cc" * 20,
        "4": "Train",
        "5": "acme/speech",
        "6": "refs/heads/main",
        "9": workflow,
        "10": "aa" * 20,
        "11": "github-hosted",
        "12": "https://github.com/acme/speech",
        "13": "cc" * 20,
        "14": "refs/heads/main",
        "15": "123",
        "16": "https://github.com/acme",
        "17": "45",
        "18": "https://github.com/acme/speech/.github/workflows/ci.yml@refs/heads/main",
        "19": "bb" * 20,
        "20": "push",
        "21": "https://github.com/acme/speech/actions/runs/9001/attempts/2",
        "22": "private",
    }


def test_a_gitlab_job():
    trusted = issuer("gitlab", ("https://gitlab.com/acme",), url="https://gitlab.com")
    found = verify(signed(claims(**GITLAB)), trusted)
    config = "https://gitlab.com/acme/speech//.gitlab-ci.yml@refs/heads/main"
    assert (found.subject, found.kind) == (config, "uri")
    assert dict(found.claims) == {
        "9": config,
        "10": "aa" * 20,
        "11": "gitlab-hosted",
        "12": "https://gitlab.com/acme/speech",
        "13": "cc" * 20,
        "14": "refs/heads/main",
        "15": "123",
        "16": "https://gitlab.com/acme",
        "17": "45",
        "18": config,
        "19": "aa" * 20,
        "20": "push",
        "21": "https://gitlab.com/acme/speech/-/jobs/8",
        "22": "private",
    }
    assert (
        verify(signed(claims(**(GITLAB | {"ref_type": "tag", "ref": "v1"}))), trusted).claims["14"]
        == "refs/tags/v1"
    )


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"repository": "evil/speech"}, "token.subject"),
        ({"repository": "acme-evil/speech"}, "token.subject"),
        ({"repository": "acme/../evil/speech"}, "token.subject"),
        ({"repository": ...}, "token.claims"),
        ({"job_workflow_ref": ...}, "token.claims"),
        ({"sha": ["cc"]}, "token.claims"),
        ({"sha": None}, "token.claims"),
        ({"workflow": "x\x00y"}, "token.claims"),
        ({"workflow": "x" * 2000}, "token.claims"),
    ],
)
def test_github_jobs_that_are_refused(changes, check):
    """A reusable workflow of ours that somebody else's repository runs is that repository's job, not ours."""
    trusted = issuer("github", ("https://github.com/acme",), url=ACTIONS)
    assert refused(signed(claims(**(GITHUB | changes))), trusted) == check


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"project_path": "evil/speech"}, "token.subject"),
        ({"ref_type": "merge_request"}, "token.claims"),
        ({"ci_config_ref_uri": ...}, "token.claims"),
        ({"ci_config_ref_uri": "gitlab.com/a b"}, "token.subject"),
    ],
)
def test_gitlab_jobs_that_are_refused(changes, check):
    trusted = issuer("gitlab", ("https://gitlab.com/acme",), url="https://gitlab.com")
    assert refused(signed(claims(**(GITLAB | changes))), trusted) == check


def test_a_job_may_say_less_and_no_claim_is_empty():
    trusted = issuer("github", ("https://github.com/acme",), url=ACTIONS)
    said = GITHUB | {"environment": "", "sha": "", "workflow": "x" * 1024}
    said.pop("repository_visibility")
    found = verify(signed(claims(**said)), trusted).claims
    assert {"3", "13", "22", "23"} & set(found) == set()
    assert found["4"] == "x" * 1024
    assert verify(signed(claims(**(said | {"environment": "live"}))), trusted).claims["23"] == "live"
    assert "23" not in verify(signed(claims(**(said | {"environment": None}))), trusted).claims


@pytest.mark.parametrize(
    ("value", "said"),
    [(..., "'run_id' is missing"), (["1"], "'run_id' is not text"), (1.5, "'run_id' is not text")],
)
def test_what_is_wrong_with_a_claim_is_said(value, said):
    trusted = issuer("github", ("https://github.com/acme",), url=ACTIONS)
    with pytest.raises(VerificationFailed, match=said):
        verify(signed(claims(**(GITHUB | {"run_id": value}))), trusted)


def test_a_gitlab_of_our_own():
    trusted = issuer(
        "gitlab",
        ("https://git.acme.example/acme",),
        url="https://gitlab.com",
        server="https://git.acme.example",
    )
    assert verify(signed(claims(**GITLAB)), trusted).claims["12"] == "https://git.acme.example/acme/speech"


def test_any_trust_domain_must_be_written():
    said = claims(sub="spiffe://elsewhere.example/ns")
    assert verify(signed(said), issuer("spiffe", ("*",))).subject == said["sub"]


@pytest.mark.parametrize("subject", ["", 7, None, ["x"]])
def test_a_challenge_is_text(subject):
    token = jwt.api_jws.encode(
        json.dumps(claims(sub=subject)).encode(), P256, algorithm="ES256", headers={"kid": "one"}
    )
    assert verify(token).challenges == ("trainer@example.org",)


def test_who_is_trusted_is_said():
    for verifier, said in (
        (TokenVerifier([]), "trusted are none"),
        (TokenVerifier([issuer()]), f"trusted are {URL}"),
    ):
        with pytest.raises(VerificationFailed) as caught:
            verifier.verify(signed(claims(iss="https://other.example")), NOW)
        assert caught.value.cause == said


def test_a_token_has_a_length():
    fixed = len(signed(claims(pad="")))
    pad = (MAX_TOKEN - fixed) * 3 // 4
    lengths = {len(signed(claims(pad="x" * size))): size for size in range(pad - 8, pad + 9)}
    assert verify(signed(claims(pad="x" * lengths[MAX_TOKEN])))
    longer = min(length for length in lengths if length > MAX_TOKEN)
    assert refused(signed(claims(pad="x" * lengths[longer]))) == "token.form"


def test_an_own_host_is_named_by_its_url():
    trusted = issuer(
        "github", ("https://git.acme.example/acme",), url=ACTIONS, server="https://git.acme.example"
    )
    assert verify(signed(claims(**GITHUB)), trusted).subject.startswith(
        "https://git.acme.example/acme/builds/"
    )


def test_the_development_issuer_vouches_for_anybody_here():
    local = DevelopmentIssuer(service_key("development"), entropy=Counting())
    trusted = local.trusted()
    for subject, kind in (("me@laptop.example", "email"), ("https://ci.example/job", "uri")):
        found = verify(local.token(subject, NOW), trusted)
        assert (found.issuer, found.subject, found.kind) == (DEVELOPMENT_ISSUER, subject, kind)
        assert found.challenges[0] == subject
    assert refused(local.token("me@laptop.example", NOW), trusted, NOW + timedelta(minutes=7)) == "token.time"
    assert pinned_keys(json.dumps(local.jwks()).encode()) == trusted.keys
    with pytest.raises(UsageError):
        DevelopmentIssuer(service_key("dev", "ed25519"), entropy=Counting())


def test_two_tokens_of_one_moment_differ():
    local = DevelopmentIssuer(service_key("development"), entropy=Counting())
    ids = {
        jwt.decode(local.token("a@b.c", NOW), options={"verify_signature": False})["jti"] for _ in range(5)
    }
    assert len(ids) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"mapping": "development"},
        {"url": DEVELOPMENT_ISSUER},
        {"mapping": "anything"},
        {"within": ()},
        {"within": ("",)},
        {"url": ""},
        {"audience": ""},
        {"max_age": timedelta(0)},
        {"mapping": "github", "server": "https://git.example/"},
        {"mapping": "github", "server": "http://git.example"},
        {"mapping": "github", "server": "https://git.example/x?y"},
        {"mapping": "username", "within": ("*",)},
        {"mapping": "username", "within": ("a", "b")},
    ],
)
def test_issuers_that_are_not_trusted(changes):
    with pytest.raises(BadSetting):
        issuer(**changes)
    with pytest.raises(BadSetting):
        replace(issuer(), keys=())


def test_one_entry_for_each_issuer():
    with pytest.raises(BadSetting):
        TokenVerifier([issuer(), issuer("uri", ("*",))])


@pytest.mark.parametrize(
    "row",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {},
        {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        jwk(P256, alg="ES384"),
        jwk(P256, alg="none"),
        jwk(P256, alg="HS256"),
        jwk(RSA, alg="HS256"),
        jwk(P256, use="enc"),
        jwk(P256, key_ops=["sign"]),
        jwk(P256, kid=7),
        jwk(P256, x="AA"),
        jwk(P256, d="AA"),
        jwt.algorithms.ECAlgorithm.to_jwk(P256, as_dict=True) | {"key_ops": ["verify"]},
        jwk(RSA, crv="P-256"),
        jwk(rsa.generate_private_key(65537, 1024)),
    ],
)
def test_keys_that_are_not_pinned(row):
    with pytest.raises(BadSetting):
        pinned_keys(json.dumps({"keys": [jwk(P256), row]}).encode())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"keys":[]}', b'{"keys":{}}', b'{"keys":[7]}', b'{"keys":[null]}']
)
def test_what_is_no_set_of_keys(data):
    with pytest.raises(BadSetting):
        pinned_keys(data)


def test_a_set_has_a_size():
    rows = [jwk(P256, kid=str(number)) for number in range(33)]
    assert len(pinned_keys(json.dumps({"keys": rows[:32]}).encode())) == 32
    with pytest.raises(BadSetting):
        pinned_keys(json.dumps({"keys": rows}).encode())


def test_a_kind_of_key_that_is_not_used_is_named():
    with pytest.raises(BadSetting) as caught:
        pinned_keys(json.dumps({"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AA"}]}).encode())
    assert caught.value.cause == "a key of kind OKP Ed448 is not used"


def test_a_set_of_keys_is_read_with_its_window():
    window = Window(NOW, NOW + timedelta(days=1))
    found = pinned_keys(json.dumps({"keys": [jwk(P256), jwk(RSA, kid="two", use="sig")]}).encode(), window)
    assert [key.kid for key in found] == ["one", "two"]
    assert {key.window for key in found} == {window}
