package weighbridge.own

default allow := false

allow if not deny

deny contains {"rule": "r", "msg": "m"} if not input.evidence.scan.complete
