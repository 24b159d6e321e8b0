"""The services over HTTP: where foreign clients sign, log and stamp, and where they fetch models that were admitted.

What comes in are requests of clients that are not ours. For Sigstore's, `trust.keyless.Services` do the work; what
goes out are the answers that Fulcio, Rekor, a timestamp authority and a TUF repository give. For hub clients
(`mirror`) and those of OCI registries (`oci`), `shelf` asks the gate, and only verified bytes leave (`leaves`).

The rules of this room: whatever is sent gets an answer in JSON with a code and a sentence, never a traceback
and never nothing; a request is bounded in size, in time and in how many there are at once before anything of
it is read; nothing is logged before its signature was verified; a token, a proof or a key is never written
to a log. It speaks plain HTTP, on this machine unless somebody who has read the risk says otherwise.

Start reading at `app` (which address does what), then `desk` (how a request is read, bounded, run and
answered); `serving` binds a socket and runs it all. For handing out: `shelf`, `mirror`, then `bodies` and `leaves`.
"""
