"""The disk space that videos leave free: checked before each write of a download or a video."""

import shutil
from pathlib import Path

from storage.base import StorageFull

#: Disk space that videos leave free for the database and the logs, in bytes.
RESERVE = 256 * 2**20


def check_space(folder: Path, size: int, *, reserve: int = RESERVE) -> None:
    """Check that the folder's disk has room; several writers at once may pass it together.

    Raises:
        StorageFull: writing `size` more bytes would leave less than the reserve.
    """
    free = shutil.disk_usage(folder).free
    if free < size + reserve:
        msg = (
            f"not enough disk space for {size:,} more bytes: {free:,} bytes are free, "
            f"of which {reserve:,} are reserved"
        )
        raise StorageFull(msg)
