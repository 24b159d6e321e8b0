"""Engines: programs that evaluate a policy, each behind `policy.contract.Engine`.

What comes in are modules, data, a question and a query; what goes out is an EngineAnswer that has the one
accepted shape, or says that there is no answer.

The rule of this room: an engine cannot fail open. It runs in a process of its own, under limits of time,
memory and output, with an empty environment. A crash, a time-out, a panic, an undefined rule, an answer of another
shape: each is CANNOT_TELL, which blocks. Nothing that a policy does can raise in the gate.

Start reading at `regorus` (the supervisor); `worker` is the program it starts, by path and never by import.
"""
