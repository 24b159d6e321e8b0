package weighbridge.own

default allow := false

allow if not deny

deny if not input.evidence.scan.complete
