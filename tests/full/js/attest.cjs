// Signs with npm's sigstore: attest.cjs PACKAGE SERVER TOKEN PAYLOAD BUNDLE [TYPE]; without a type, a bare file.
const fs = require('node:fs');
const [name, server, identityToken, payload, bundle, type] = process.argv.slice(2);
const sigstore = require(name);
const options = { fulcioURL: server, rekorURL: server, tsaServerURL: server, identityToken, retry: 0 };
const data = fs.readFileSync(payload);
(type ? sigstore.attest(data, type, options) : sigstore.sign(data, options)).then(
  (made) => fs.writeFileSync(bundle, JSON.stringify(made)),
  (error) => { console.error(String(error.cause ?? error)); process.exit(1); },
);
