"""Connection strings of the emulator, in the short form that Azure's tools accept and the Python SDKs do not."""

_ADDRESSES = (
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1"
)
# The public key that all emulators share.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"


def written_out(connection: str) -> str:
    """Return the full form of `UseDevelopmentStorage=true`, with Azurite's default ports; others unchanged."""
    if connection.strip("; ").casefold() != DEVELOPMENT_STORAGE.casefold():
        return connection
    return f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_KEY};{_ADDRESSES}"
