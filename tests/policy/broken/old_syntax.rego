package weighbridge.own

default allow := false

allow if count(deny) == 0

deny[msg] {
	input.evidence.scan.verdict != "clean"
	msg := "m"
}
