"""Judging: the gate verifies everything it is told, decides, and lets a decision take effect.

What comes in is the identity of a kept model; what goes out is a Decision with its receipt, and for
an admitted model a short-lived verification summary and a folder to load from. The rules of this room:
the gate believes only what it verified itself (bytes re-hashed, its own scan, every signature against
the authority); the floor and the policy judge, nobody else; whatever cannot be told blocks; and nothing
takes effect before the log has it.

Start reading at `evidence` (how facts are established), then `judging` (floor, policy and judge put
together), `promote` and `admit` (what an allow brings about), `revoke` (what a withdrawal brings
about) and `lineage` (who descends from whom, and what of it is deployed). `handout` and `pushing` ask before
bytes leave, `adoption` looks at what runs already, `work` is the table of jobs.
"""
