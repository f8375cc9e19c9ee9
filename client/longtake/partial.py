"""A download's `.part` file: what is in it counts, and it takes its name when its hash is right."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryFile

from longtake.errors import DownloadCorrupt
from longtake.results import Output

_PIECE = 2**20


def is_there(target: Path, output: Output) -> bool:
    """Whether the file is already the output's video."""
    if output.sha256 is None or not target.is_file():
        return False
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == output.sha256


def check_target(target: Path) -> None:
    """Raise OSError if no download can be written to this file or folder; leave nothing there."""
    folder = target if target.is_dir() else target.parent
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:  # it names a file that nobody asked for
        raise OSError(error.errno, error.strerror, str(folder)) from None


class Part:
    """The file beside `target` that a download is written to, and goes on from."""

    def __init__(self, target: Path) -> None:
        """Open it, with what an earlier download left; OSError."""
        self._target = target
        self._path = target.with_name(f"{target.name}.part")
        self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        self._hash = hashlib.sha256()
        self.size = 0
        while piece := self._file.read(_PIECE):
            self._hash.update(piece)
            self.size += len(piece)
        #: Whether it has bytes of an earlier download.
        self.is_resumed = self.size > 0

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0
        self.is_resumed = False

    def holds(self, output: Output) -> bool:
        return output.sha256 in {None, self._hash.hexdigest()}

    def finish(self, output: Output) -> None:
        """Give it its name; DownloadCorrupt, and no file, if it is not the output's video."""
        if not self.holds(output):
            self._path.unlink()
            raise DownloadCorrupt(
                f"{self._target.name} has SHA-256 {self._hash.hexdigest()}, not {output.sha256}"
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.replace(self._target)

    def close(self) -> None:
        self._file.close()
