"""The error classes, which differ by what a caller can do about the error.

Library errors are translated where the library is called; the cause is always kept.
A message says what was being done, to what, what went wrong and what to do.
"""


class PipelineError(Exception):
    """Base class of all errors that this project raises on purpose."""


class TransientError(PipelineError):
    """An error that a later retry may cure. If it is raised, the platform or the next timer run retries."""


class PermanentError(PipelineError):
    """An error that no retry cures until a person changes something. Record it and do not retry."""


class StoreUnavailableError(TransientError):
    """Azure Storage could not be reached, was busy or answered 5xx."""


class NotListeningError(StoreUnavailableError):
    """Nothing listens at the address of Azure Storage, which is on this machine."""


class StoreRefusedError(PermanentError):
    """Azure Storage refused a request that no retry can cure: permissions, a missing container."""


class ImageDamagedError(PermanentError):
    """A stored image's parts, length or checksum do not fit together."""


class MemberRefusedError(PermanentError):
    """One member of an archive cannot be preprocessed; the others are not affected."""
