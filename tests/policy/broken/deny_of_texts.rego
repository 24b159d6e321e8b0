package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains "not scanned" if not input.evidence.scan.complete
