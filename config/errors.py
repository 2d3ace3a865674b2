"""The app's errors, under the two kinds of `imagefeed.errors`."""

from collections.abc import Sequence

from imagefeed.errors import PermanentError, TransientError


class SettingsError(PermanentError):
    """Settings are missing or wrong; the message names every one of them, `problems` has them one by one."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        """Several problems have a line each behind the message; one stands in the message's own."""
        lines = ";\n  ".join(problems)
        super().__init__(f"{message}:\n  {lines}" if len(problems) > 1 else ": ".join(filter(None, (message, lines))))
        self.problems = tuple(problems) or (message,)


class SourceUnavailableError(TransientError):
    """A remote server could not be reached, broke off, timed out or is busy."""


class SourceRefusedError(PermanentError):
    """A remote server refused us: password, host key, certificate, permission, folder."""


class TransferTruncatedError(TransientError):
    """A remote file ended early, went on too long or changed while it was copied."""


class OutOfTimeError(TransientError):
    """A call's budget of time is spent; what was done so far is kept."""


class LeaseLostError(TransientError):
    """Another process holds the lease that this one needs."""


class ArchiveRefusedError(PermanentError):
    """A whole archive cannot be preprocessed: unreadable directory, or a limit was hit."""


class ArchiveIncompleteError(ArchiveRefusedError):
    """Bytes are missing in an archive: it is damaged, or somebody still writes it."""


class PipelineMismatchError(PermanentError):
    """Preprocessing settings differ from those first used under this pipeline's name."""
