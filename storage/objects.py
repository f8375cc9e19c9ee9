"""Storage in a local folder or a bucket, both through obstore."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from storage.base import NotOpened, NotStored, StorageError, Unavailable, checked_key
from storage.disk import on_disk
from storage.space import RESERVE, check_space

if TYPE_CHECKING:  # a name that obstore's stubs have and the module has not
    from obstore.store import RetryConfig

#: Bytes that one read request returns, and so the memory that each downloading client takes.
WINDOW = 2 * 2**20

# We keep obstore's timeouts: 5 s to connect, 30 s for a request, which moves a part (5 MiB) or a
# window. Passing options here would override the operator's `AWS_ALLOW_HTTP` (obstore 0.12.1).
_RETRIES: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=90)}


class ObjectStorage:
    """Objects under one URL: `file:///folder`, `s3://bucket/prefix`, and obstore's other schemes.

    A bucket's credentials, region and endpoint come from the vendor's variables (`AWS_…`). A local
    folder is created if missing; free space is checked for local folders only. Both kinds create
    objects atomically: the local store writes `<name>#<n>` beside the object and renames it
    (obstore 0.12.1; a test checks this).
    """

    # A fork does not copy the threads of obstore's runtime: a child process that inherits a used
    # runtime would hang (obstore 0.12.1), so we raise an error instead.
    _used_by: ClassVar[int | None] = None

    def __init__(self, url: str, *, reserve: int = RESERVE) -> None:
        self._store = _open(url)
        self._folder = self._store.prefix if isinstance(self._store, LocalStore) else None
        self._reserve = reserve

    async def put_file(self, key: str, path: Path, *, content_type: str) -> None:
        checked_key(key)
        size = path.stat().st_size  # noqa: ASYNC240 - the inode was written a moment ago
        self.check_space(size)
        if self._folder is None:
            with self._translated_errors(key):
                await obstore.put_async(
                    self._store, key, path, attributes={"Content-Type": content_type}
                )
            return
        await on_disk(_remove_staged, self._folder, key)
        with self._translated_errors(key, size=size):
            await obstore.put_async(self._store, key, path)  # local files have no content type
            await on_disk(_flush, self._folder, key)

    async def read(
        self, key: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        size = await self.head(key)
        if size is None:
            raise NotStored(_missing(key))
        stop = size if end is None else min(end, size)
        while start < stop:
            window = min(start + WINDOW, stop)
            with self._translated_errors(key):
                piece = await obstore.get_range_async(self._store, key, start=start, end=window)
            yield bytes(piece)
            start = window

    async def head(self, key: str) -> int | None:
        checked_key(key)
        try:
            with self._translated_errors(key):
                return (await obstore.head_async(self._store, key))["size"]
        except NotStored:
            return None

    async def delete(self, key: str) -> None:
        checked_key(key)
        if self._folder:
            await on_disk(_remove_staged, self._folder, key)
        try:
            with self._translated_errors(key):
                await obstore.delete_async(self._store, key)
        except NotStored:
            return

    # Small objects use obstore's blocking API in a thread: a process that exits soon after an
    # asynchronous call, as a command does, may abort in obstore's teardown (obstore 0.12.1).

    async def put_note(self, key: str, content: bytes) -> None:
        await asyncio.to_thread(self._put_note, checked_key(key), content)

    async def read_note(self, key: str) -> bytes:
        return await asyncio.to_thread(self._read_note, checked_key(key))

    async def notes(self, folder: str) -> list[str]:
        return await asyncio.to_thread(self._notes, checked_key(folder))

    async def delete_note(self, key: str) -> None:
        await asyncio.to_thread(self._delete_note, checked_key(key))

    def _put_note(self, key: str, content: bytes) -> None:
        with self._translated_errors(key):
            obstore.put(self._store, key, content)
            if self._folder is not None:
                _flush(self._folder, key)

    def _read_note(self, key: str) -> bytes:
        with self._translated_errors(key):
            return bytes(obstore.get(self._store, key).bytes())

    def _notes(self, folder: str) -> list[str]:
        with self._translated_errors(folder):
            found = obstore.list(self._store, prefix=folder).collect()
        return sorted(each["path"] for each in found)

    def _delete_note(self, key: str) -> None:
        try:
            with self._translated_errors(key):
                obstore.delete(self._store, key)
        except NotStored:
            return

    def check_space(self, size: int) -> None:
        """Check that the local disk has room; a bucket has no such limit.

        Raises:
            StorageFull: storing `size` more bytes would leave less than the reserve.
        """
        if self._folder is not None:
            check_space(self._folder, size, reserve=self._reserve)

    @contextmanager
    def _translated_errors(self, key: str, *, size: int = 0) -> Iterator[None]:
        """Translate obstore's errors; their messages contain URLs."""
        self._refuse_a_forked_runtime()
        try:
            yield
        except FileNotFoundError as error:
            raise NotStored(_missing(key)) from error
        except (BaseError, OSError, NotImplementedError) as error:
            self.check_space(size)
            msg = f"the video store failed ({type(error).__name__})"
            raise Unavailable(msg) from error

    def _refuse_a_forked_runtime(self) -> None:
        used_by = ObjectStorage._used_by
        if used_by not in {None, os.getpid()}:
            msg = "the video store was used before this process forked; use it only after the fork"
            raise StorageError(msg)
        ObjectStorage._used_by = os.getpid()


def _open(url: str) -> ObjectStore:
    try:
        if url.startswith("file:"):
            folder = Path(unquote(urlsplit(url).path))
            if not folder.exists():  # one that an operator made keeps its mode
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
        return from_url(url, retry_config=_RETRIES)
    except (BaseError, OSError, ValueError) as error:
        # obstore's words may quote the URL, and with it a password.
        is_shown = "@" not in url or url.startswith("file:///")
        reason = _first_line(error) if is_shown else "it is no URL of a store"
        msg = f"the video store (LONGTAKE_STORAGE_URL) can't be opened: {reason}"
        raise NotOpened(msg) from None


def _remove_staged(folder: Path, key: str) -> None:
    """Delete staged files that a killed process left of this object; the caller holds its lease."""
    target = folder / key
    for staged in target.parent.glob(f"{target.name}#*"):
        staged.unlink(missing_ok=True)


def _flush(folder: Path, key: str) -> None:
    """Flush a new file and its folders to disk, before the database records it as stored.

    They are closed to other accounts, whatever the umask of the process is; a folder of another
    account keeps its mode, and so does the uppermost, which an operator may share.
    """
    file = folder / key
    file.chmod(0o600)
    _fsync(file)
    for directory in file.parents:
        _fsync(directory)
        if directory == folder:
            return
        with suppress(PermissionError):
            directory.chmod(0o700)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _missing(key: str) -> str:
    return f"no object is stored as {key}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
