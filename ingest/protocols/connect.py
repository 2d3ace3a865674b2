"""Which adapter reaches a source."""

from ingest.model import Endpoint
from ingest.ports import Connector


def connector(endpoint: Endpoint) -> Connector:
    """Give the way to a source. Protocol libraries are loaded here, so that only who polls waits for them."""
    if endpoint.scheme == "sftp":
        from ingest.protocols.sftp import SftpConnector

        return SftpConnector(endpoint)
    from ingest.protocols.ftp import FtpConnector

    return FtpConnector(endpoint)
