"""The error tree: what a caller can do about it decides the class.

Library errors are translated where the library is called; the cause is always kept.
A message says what was being done, to what, what went wrong and what to do.
"""


class PipelineError(Exception):
    """Anything that this project expects to go wrong."""


class TransientError(PipelineError):
    """Trying again later may help: raise it, and the platform or the next tick tries again."""


class PermanentError(PipelineError):
    """Trying again cannot help until a person changes something: record it and settle."""


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
