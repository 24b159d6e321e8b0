"""Telling: one module for each kind of receiver of alerts, and nothing that decides.

What comes in is a receiver as the user configured it (`core.alert.Sink`) and alerts that are already fit to
be shown; what goes out is a request, a line, or a child process. The rule of this room: a receiver can be slow,
hostile or gone, and costs its own deadline and nothing else. No answer of a receiver is believed, shown or followed
beyond its status; secrets come from the environment when they are needed and are sent only where HTTPS or this very
machine is at the other end; the code of a plug-in runs in a process of its own, and only while the
files of its distribution are those that the user named.

Start reading at `receivers` (the table of types and what each is asked), then `webhook`, the simplest of those that
reach out. Who is told what and when is `gate.alerting`; how far each was told is kept by
`registry.alert_queue`. `worker` is a program of its own, started by path and imported by nobody.
"""
