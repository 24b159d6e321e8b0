"""The command line: parses what was typed, calls one function below, and shows what came back.

What comes in are words, what goes out is data on standard output, everything else on standard error,
and one of five exit codes (docs/reference/exit-codes.md). The rules of this room: no decision is made
here; a verb's module is imported only when that verb runs; every error is shown with its problem, cause
and remedy, and a traceback is a bug.

Start reading at `main` (the table of verbs, and how errors become exit codes), then `options` (what all
verbs share) and `render` (how things look). One file per verb or pair of verbs holds the rest.
"""
