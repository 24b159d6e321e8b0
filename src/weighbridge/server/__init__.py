"""The services over HTTP: one address at which foreign Sigstore clients sign, log, stamp and learn whom to trust.

What comes in are requests of clients that are not ours, and `trust.keyless.Services`, which do the work for
the command line too; what goes out are the answers that Fulcio, Rekor, a timestamp authority and a TUF
repository give, byte for byte as those clients read them.

The rules of this room: whatever is sent gets an answer in JSON with a code and a sentence, never a traceback
and never nothing; a request is bounded in size, in time and in how many there are at once before anything of
it is read; nothing is logged before its signature was verified; a token, a proof or a key is never written
to a log. It speaks plain HTTP, on this machine unless somebody who has read the risk says otherwise.

Start reading at `app` (which address does what), then `desk` (how a request is read, bounded, run and
answered); `serving` binds a socket and runs it all.
"""
