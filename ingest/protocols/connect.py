"""Choice of the protocol adapter for a source."""

from typing import assert_never

from ingest.model import Endpoint
from ingest.ports import Connector


def connector(endpoint: Endpoint) -> Connector:
    """Return the connector for an endpoint's URL scheme. mypy and assert_never reject a scheme without a connector.

    Protocol libraries are imported here because only a poll needs them, so nothing else waits for the import.
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
