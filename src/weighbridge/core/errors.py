"""Every error Weighbridge raises on purpose: each one carries problem, cause and remedy.

The tree, with the exit code each branch gives on the command line::

    WeighbridgeError
    ├── UsageError            2   what was typed cannot be used
    │   ├── BadReference          a model reference that cannot be parsed or is refused
    │   ├── BadSetting            a configuration or policy file with a mistake in it
    │   └── NotFound              the named thing does not exist here
    ├── Refused               1   a definite no
    │   ├── BadManifest           a tree that cannot have an identity (links, names, devices)
    │   ├── VerificationFailed    a signature, proof or digest is wrong; carries the check id
    │   ├── ConversionRefused     the checkpoint holds something that cannot be represented
    │   └── LoadRefused           the loader will not hand out bytes; carries the check id
    ├── CannotTell            3   no answer could be reached: blocks, and says so
    │   ├── Unreadable            present, but not to be read (permissions, I/O, truncated)
    │   ├── Unreachable           a service or source did not answer
    │   ├── OutOfBudget           a limit on bytes, depth, time or memory was spent
    │   ├── Locked                another writer holds the registry
    │   └── RegistryUnusable      damaged, unpinned, or made by a newer version
    └── InternalError         4   our own mistake

`message` is one sentence without a full stop at its end; `cause` and `remedy` may be longer.
"""

from __future__ import annotations


class WeighbridgeError(Exception):
    """A problem with its cause and its remedy; `remedy` names the next command where there is one."""

    exit_code = 4
    kind = "internal"

    def __init__(self, problem: str, *, cause: str = "", remedy: str = "", check: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.cause = cause
        self.remedy = remedy
        self.check = check
        """The id of the check that refused (`bundle.signature`, `bytes.match`, …), or empty."""

    def __str__(self) -> str:
        lines = [self.problem]
        if self.check:
            lines[0] = f"{self.problem} [{self.check}]"
        if self.cause:
            lines.append(f"  cause: {self.cause}")
        if self.remedy:
            lines.append(f"  help: {self.remedy}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, str]:
        """Return the error as the JSON object that `--format json` prints."""
        return {
            "kind": self.kind,
            "check": self.check,
            "problem": self.problem,
            "cause": self.cause,
            "remedy": self.remedy,
        }


class UsageError(WeighbridgeError):
    """What was typed cannot be used."""

    exit_code = 2
    kind = "usage"


class BadReference(UsageError):
    """A model reference that cannot be parsed, or names something Weighbridge refuses to follow."""

    kind = "bad-reference"


class BadSetting(UsageError):
    """A mistake in a configuration or policy file."""

    kind = "bad-setting"


class NotFound(UsageError):
    """The named model, key, file or record does not exist here."""

    kind = "not-found"


class Refused(WeighbridgeError):
    """A definite no."""

    exit_code = 1
    kind = "refused"


class BadManifest(Refused):
    """A tree of files that cannot be given an identity."""

    kind = "bad-manifest"


class VerificationFailed(Refused):
    """A signature, proof, identity or digest is wrong; `check` names the step that failed."""

    kind = "verification-failed"


class ConversionRefused(Refused):
    """The checkpoint holds something that safetensors cannot represent, or that is not tensors."""

    kind = "conversion-refused"


class LoadRefused(Refused):
    """The loader will not hand out bytes; `check` names what refused."""

    kind = "load-refused"


class CannotTell(WeighbridgeError):
    """No answer could be reached; this blocks like a refusal but is told apart from one."""

    exit_code = 3
    kind = "cannot-tell"


class Unreadable(CannotTell):
    """Present but not to be read."""

    kind = "unreadable"


class Unreachable(CannotTell):
    """A service or source did not answer."""

    kind = "unreachable"


class OutOfBudget(CannotTell):
    """A limit on bytes, depth, members, time or memory was spent."""

    kind = "out-of-budget"


class Locked(CannotTell):
    """Another writer holds the registry."""

    kind = "locked"


class RegistryUnusable(CannotTell):
    """The registry is damaged, not pinned by this user, or made by a newer version."""

    kind = "registry-unusable"


class InternalError(WeighbridgeError):
    """Our own mistake."""
