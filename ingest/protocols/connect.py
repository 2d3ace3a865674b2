"""Which adapter reaches a source."""

from typing import assert_never

from ingest.model import Endpoint
from ingest.ports import Connector


def connector(endpoint: Endpoint) -> Connector:
    """Return the way to a source; a scheme without a protocol is an error, for mypy as well.

    Protocol libraries are loaded here, so that only a poll waits for them.
    """
    match endpoint.scheme:
        case "sftp":
            from ingest.protocols.sftp import SftpConnector

            return SftpConnector(endpoint)
        case "ftp" | "ftpes" | "ftps":
            from ingest.protocols.ftp import FtpConnector

            return FtpConnector(endpoint)
        case _:
            assert_never(endpoint.scheme)
