"""The app's errors, as subclasses of the two kinds in `imagefeed.errors`."""

from collections.abc import Sequence

from imagefeed.errors import PermanentError, TransientError


class SettingsError(PermanentError):
    """Settings are missing or wrong. The message names all of them; `problems` lists them one by one."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        """Append `problems` to `message`: one on the same line, several on a line each."""
        lines = ";\n  ".join(problems)
        super().__init__(f"{message}:\n  {lines}" if len(problems) > 1 else ": ".join(filter(None, (message, lines))))
        self.problems = tuple(problems) or (message,)


class SourceUnavailableError(TransientError):
    """A remote server could not be reached, dropped the connection, timed out or is busy."""


class SourceRefusedError(PermanentError):
    """A remote server refused us: password, host key, certificate, permission, folder."""


class InconsistentTransferError(TransientError):
    """Bytes of a remote file contradict each other or its listing. Nothing that was staged of it is trusted."""


class TransferTruncatedError(InconsistentTransferError):
    """A remote file ended early, went on too long or changed while it was copied."""


class OutOfTimeError(TransientError):
    """The time budget of a call is spent. Finished work is kept."""


class LeaseLostError(TransientError):
    """Another process holds the lease that this one needs."""


class ArchiveRefusedError(PermanentError):
    """A whole archive cannot be preprocessed: its directory is unreadable, or it exceeds a limit."""


class ArchiveIncompleteError(ArchiveRefusedError):
    """Bytes of an archive are missing: it is damaged, or still being written."""


class PipelineMismatchError(PermanentError):
    """Preprocessing settings differ from those first used under this pipeline's name."""
