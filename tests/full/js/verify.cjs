// Verifies with npm's sigstore, which learns of the instance by TUF: verify.cjs PACKAGE SERVER ROOT CACHE BUNDLE SAN ISSUER [PAYLOAD].
const fs = require('node:fs');
const [name, server, tufRootPath, tufCachePath, bundle, san, certificateIssuer, payload] = process.argv.slice(2);
const sigstore = require(name);
const options = {
  tufMirrorURL: `${server}/tuf`, tufRootPath, tufCachePath, certificateIssuer, certificateIdentityEmail: san,
  tlogThreshold: 1, ctLogThreshold: 1, retry: 0,
};
const made = JSON.parse(fs.readFileSync(bundle, 'utf8'));
const done = payload ? sigstore.verify(made, fs.readFileSync(payload), options) : sigstore.verify(made, options);
done.then(
  () => console.log('accepted'),
  (error) => { console.error(String(error)); process.exit(1); },
);
