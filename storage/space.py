"""The disk space that there is, and that videos leave free: checked before each of their writes."""

import shutil
from pathlib import Path

from storage.base import StorageFull

#: Disk space that videos leave free for the database and the logs, in bytes.
RESERVE = 256 * 2**20


def free_and_size(folder: Path) -> tuple[int, int]:
    """Free and all bytes of a folder's disk; of one that is still to be made, its parent's."""
    place = folder.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    usage = shutil.disk_usage(place)
    return usage.free, usage.total


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
