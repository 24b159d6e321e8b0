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
| `bundle` | what was signed and the proofs that came with it; `bundle_form` reads it, `log_body` is what our log keeps |
| `prove` | what a bundle proves, given `roots` and a `demand`; the modules it imports are its steps |
| `expect` | who is expected to have signed |
| `seal` | making bundles: sign, log, prove |
| `authority` | who may do what; `authority_form` reads the document, `authority_file` signs and believes it |
| `verify` | the numbered steps from bytes to belief; start reading here |
"""

SERVICES = {
    "minting.make_root": "(signer, *, name, now, entropy, title='root') -> DER",
    "minting.make_intermediate": "(root_signer, root, public_pem, *, name, now, entropy) -> DER",
    "minting.make_timestamper": "(root_signer, root, public_pem, *, name, now, entropy) -> DER",
    "ctlog.CertificateLog.create": "(directory, origin, signer, *, now, authorities) -> CertificateLog",
    "ctlog.CertificateLog.add": "(tbs, issuer_pem, now) -> SCT",
    "ctlog.CertificateLog.add_authority": "(certificate, now) -> index",
    "ctlog.certificate_entries": "(log, start=0) -> CertificateEntry, one by one, without a key",
    "ca.CertificateService": "(signer, chain, *, ct, entropy)",
    "ca.CertificateService.issue": "(token, public_key, proof, now) -> Issued(leaf, chain), .pem()",
    "ca.CertificateService.issue_for_request": "(token, request, now) -> Issued",
    "tsa.TimestampService": "(signer, chain, *, entropy, policy=POLICY)",
    "tsa.TimestampService.stamp": "(digest, now, *, nonce=None, certificates=True) -> response, DER",
    "tsa.TimestampService.respond": "(query, now) -> response, DER; a rejection for what cannot be answered",
    "tsa.TimestampService.respond_json": "(query, now) -> response, DER",
    "issuers.TrustedIssuer": "(url, mapping, keys, within, audience='sigstore', template='{+sub}', server='', "
    "max_age=datetime.timedelta(seconds=3600))",
    "issuers.pinned_keys": "(jwks, window=None) -> PinnedKey of each, from the JSON of a JWKS",
    "issuers_form.read_issuers": "(data) -> TrustedIssuer of each, from a document weighbridge.issuers/1",
    "issuers_form.write_issuers": "(issuers) -> that document",
    "issuers_form.repinned": "(issuer, jwks, at) -> TrustedIssuer after its issuer rotated keys",
    "oidc.TokenVerifier": "(issuers)",
    "oidc.TokenVerifier.verify": "(jwt, now) -> Token(issuer, subject, kind, expires, challenges, claims)",
    "development.DevelopmentIssuer": "(signer, *, entropy, audience='sigstore'), .jwks(), .trusted(), .url",
    "development.DevelopmentIssuer.token": "(subject, now, *, life=datetime.timedelta(seconds=300)) -> JWT",
    "keyless.Services": "(ca, log, log_signer, tsa, verifier, retired=Roots(), operator=''), .ct, .roots()",
    "keyless.sign_keyless": "(content, token, services, now) -> Bundle, proven; a Statement, Envelope or Artifact",
    "keyless.retire": "(roots, part, at, *, compromised=False) -> Roots for the next Services",
    "log_bodies.hashedrekord1_body": "(digest, signature, verifier_pem) -> what a v1 log keeps of a file's signature",
    "log_bodies.hashedrekord2_body": "(digest, signature, public_pem, certificate=b'') -> what a v2 log keeps",
    "signing_config.Endpoints.at": "(url, since, *, log_version=1, operator='', oidc='') -> Endpoints on one port",
    "signing_config.write_signing_config": "(endpoints) -> SigningConfig v0.2, JSON",
    "signing_config.client_trust_config": "(roots, endpoints) -> ClientTrustConfig v0.1, JSON",
    "tuf_repository.TufRepository.create": "(directory, root_signer, online, targets, *, now) -> TufRepository",
    "tuf_repository.TufRepository.publish": "(targets, online, now) -> whether anything changed; targets by name",
    "tuf_repository.TufRepository.refresh": "(online, now) -> whether anything was signed again",
    "tuf_repository.TufRepository.rotate": "(signers, now, *, online, root_signer=None) -> root version",
    "tuf_repository.OnlineKeys": "(targets, snapshot, timestamp), signers, which may be one",
}
"""The embedded services, by the names of their parameters: PEM is text, DER and keys to certify are bytes."""
