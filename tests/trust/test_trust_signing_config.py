"""Where clients sign: the documents, and addresses that nothing could be appended to."""

import json
from datetime import timedelta

import pytest
from trust_services import NOW, services

from weighbridge.core.canonical import canonical
from weighbridge.core.errors import BadSetting
from weighbridge.trust.signing_config import Endpoints, client_trust_config, write_signing_config
from weighbridge.trust.trusted_root import read_trusted_root

URL = "http://127.0.0.1:8091"


def test_one_port_for_everything():
    found = json.loads(write_signing_config(Endpoints.at(URL, NOW, operator="us")))
    assert found["mediaType"] == "application/vnd.dev.sigstore.signingconfig.v0.2+json"
    service = {"majorApiVersion": 1, "operator": "us", "validFor": {"start": "2026-11-22T20:10:00Z"}}
    for name in ("caUrls", "oidcUrls", "rekorTlogUrls"):
        assert found[name] == [service | {"url": URL}]
    assert found["tsaUrls"] == [service | {"url": f"{URL}/api/v1/timestamp"}]
    assert found["rekorTlogConfig"] == found["tsaConfig"] == {"selector": "ANY"}


def test_a_slash_at_the_end_is_dropped_and_other_issuers_are_named():
    found = Endpoints.at(URL + "/", NOW, log_version=2, oidc="https://issuer.example")
    assert (found.ca, found.log, found.oidc) == (URL, URL, "https://issuer.example")
    assert json.loads(write_signing_config(found))["rekorTlogUrls"][0]["majorApiVersion"] == 2


def test_the_one_file_holds_both(tmp_path):
    roots = services(tmp_path).roots()
    data = client_trust_config(roots, Endpoints.at(URL, NOW - timedelta(minutes=5)))
    found = json.loads(data)
    assert found["mediaType"] == "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
    assert read_trusted_root(canonical(found["trustedRoot"])).authorities == roots.authorities
    assert found["signingConfig"]["caUrls"][0]["url"] == URL
    assert canonical(found) == data
    assert "127.0.0.1" not in json.dumps(found["trustedRoot"])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8091",
        "ftp://host",
        "http://",
        "http://host/?a=b",
        "http://host#x",
        "http://me@host",
        "file:///x",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(BadSetting):
        Endpoints(url, URL, URL, URL, NOW)
    with pytest.raises(BadSetting):
        Endpoints(URL, URL, URL + "/", URL, NOW)
