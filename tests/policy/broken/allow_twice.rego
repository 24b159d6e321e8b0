package weighbridge.own

default allow := false

allow := true if count(deny) == 0

allow := false if input.evidence.origin == "own"

deny contains {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
