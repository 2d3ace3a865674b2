"""The error tree: what a caller can do about it decides the class.

Library errors are translated where the library is called; the cause is always kept.
A message says what was being done, to what, what went wrong and what to do.
"""

from collections.abc import Sequence


class PipelineError(Exception):
    """Anything that this project expects to go wrong."""


class TransientError(PipelineError):
    """Trying again later may help: raise it, and the platform or the next tick tries again."""


class PermanentError(PipelineError):
    """Trying again cannot help until a person changes something: record it and settle."""


class SettingsError(PermanentError):
    """Settings are missing or wrong; the message names every one of them, `problems` has them one by one."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        """Several problems have a line each behind the message; one stands in the message's own."""
        told = ";\n  ".join(problems)
        super().__init__(f"{message}:\n  {told}" if len(problems) > 1 else ": ".join(filter(None, (message, told))))
        self.problems = tuple(problems) or (message,)


class SourceUnavailableError(TransientError):
    """A remote server could not be reached, broke off, timed out or is busy."""


class SourceRefusedError(PermanentError):
    """A remote server refused us: password, host key, certificate, permission, folder."""


class TransferTruncatedError(TransientError):
    """A remote file ended early, went on too long or changed while it was copied."""


class OutOfTimeError(TransientError):
    """A call's budget of time is spent; what was done so far is kept."""


class StoreUnavailableError(TransientError):
    """Azure Storage could not be reached, was busy or answered 5xx."""


class StoreRefusedError(PermanentError):
    """Azure Storage refused a request that no retry can cure: permissions, a missing container."""


class LeaseLostError(TransientError):
    """Another process holds the lease that this one needs."""


class ArchiveRefusedError(PermanentError):
    """A whole archive cannot be preprocessed: unreadable directory, or a limit was hit."""


class ArchiveIncompleteError(ArchiveRefusedError):
    """Bytes are missing in an archive: it is damaged, or somebody still writes it."""


class MemberRefusedError(PermanentError):
    """One member of an archive cannot be preprocessed; the others are not affected."""


class PipelineMismatchError(PermanentError):
    """Preprocessing settings differ from those first used under this pipeline's name."""


class ImageDamagedError(PermanentError):
    """A stored image's parts, length or checksum do not fit together."""
