"""CRC-64/NVME, the checksum that Azure Storage computes of each block that it receives."""

import anycrc

_MODEL = anycrc.Model("CRC64-NVME")


def crc64(part: memoryview | bytes, before: int = 0) -> int:
    """Return the CRC64 of bytes that follow others, whose CRC64 is `before`."""
    return int(_MODEL.calc(part, before))
