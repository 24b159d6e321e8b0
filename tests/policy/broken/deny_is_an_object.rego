package weighbridge.own

default allow := false

allow if count(deny) == 0

deny["r"] := "m" if not input.evidence.scan.complete
