"""Errors that a user can act on.

The stage scripts print the message of a SpinError without a traceback and end with status 1; any other exception is a defect
and shows its traceback.
"""

import functools


class SpinError(Exception):
    """A failure with a remedy. `subject` is what the message is about: a file, a configuration key, an utterance."""

    def __init__(self, subject: str, *, found: str, expected: str = "", cause: str = "", remedy: str = ""):
        self.subject, self.found, self.expected, self.cause, self.remedy = str(subject), found, expected, cause, remedy
        labelled = (("found", found), ("expected", expected), ("likely cause", cause), ("remedy", remedy))
        lines = [f"  {label}: {text}" for label, text in labelled if text]
        super().__init__("\n".join([self.subject, *lines]))

    def __reduce__(self):
        # Exceptions cross process boundaries (worker pools); the default would call __init__ with the message alone.
        keywords = {"found": self.found, "expected": self.expected, "cause": self.cause, "remedy": self.remedy}
        return functools.partial(type(self), self.subject, **keywords), ()


def rerun(first: int, last: int | None = None) -> str:
    """The remedy that rebuilds what stages `first` to `last` (default: `first` alone) made."""
    stages = f"--stage {first} --stop-stage {first if last is None else last}"
    return f"./run.sh {stages} with the same --conf, --set and --exp-dir; where it finds nothing to do, with --force"


class ConfigError(SpinError):
    """A configuration file or an override that cannot be used."""


class DataError(SpinError):
    """A corpus, a manifest or an utterance that cannot be used."""


class CheckpointError(SpinError):
    """A checkpoint that cannot be read, or does not fit the model."""


class TrainingError(SpinError):
    """A training that went wrong: not a number, a collapsed codebook, no data."""


class LockedError(SpinError):
    """Another live process works in the same folder."""


class ResourceError(SpinError):
    """What the system refused: no space, no memory; also a worker process that it ended."""


def is_out_of_memory(error: object) -> bool:
    """Whether an error means that the machine's memory is short; torch and safetensors report the system's ENOMEM as text."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)
