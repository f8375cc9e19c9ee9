"""A data folder belongs to one stack at a time, and keeps its secrets to its owner."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from settings import load
from stack.errors import StackError
from stack.folder import TAG, Folder
from stack.keys import secret_keys
from stack.servers.server import fresh_log


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    with (
        Folder(tmp_path).locked(),
        pytest.raises(StackError, match=f"process {os.getpid()}"),
        Folder(tmp_path).locked(),
    ):
        pass


def test_a_folder_is_free_after_its_stack(tmp_path: Path) -> None:
    for _ in range(2):
        with Folder(tmp_path).locked():
            pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(StackError, match="can't be used: Not a directory"),
        Folder(tmp_path / "file" / "data").locked(),
    ):
        pass


def test_what_is_published_is_what_settings_find(tmp_path: Path) -> None:
    # Given a stack that tells how to reach it
    folder = Folder(tmp_path)
    told = {
        "database_url": "postgresql://x/y",
        "broker_url": "redis://127.0.0.1:1/0",
        "secret_keys": "k" * 40,
        "api_port": "8123",
        "vendor": {"RUNWAYML_API_SECRET": "key_1"},
    }
    with folder.locked():
        folder.publish(told, pids={"api": 1})

        # Then another process's settings are the stack's
        found = load({"LONGTAKE_DATA_DIR": str(tmp_path)})
        assert found.api_url == "http://127.0.0.1:8123"
        assert found.require_broker() == told["broker_url"]
        assert found.vendor["RUNWAYML_API_SECRET"].get_secret_value() == "key_1"
        assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0
        assert json.loads((tmp_path / "stack.json").read_text())["pids"] == {"api": 1}

    # And not when it is gone
    assert load({"LONGTAKE_DATA_DIR": str(tmp_path)}).broker_url is None


def test_secret_keys_are_made_once_and_private(tmp_path: Path) -> None:
    first = secret_keys(Folder(tmp_path))

    assert secret_keys(Folder(tmp_path)) == first
    assert len(first) >= 32
    assert (tmp_path / "secret-keys").stat().st_mode & 0o077 == 0


def test_strays_are_known_by_their_mark_and_ended(tmp_path: Path) -> None:
    # Given two processes, one of this folder and one of another
    folder, other = Folder(tmp_path / "mine"), Folder(tmp_path / "other")
    command = [sys.executable, "-c", "print('up', flush=True); import signal; signal.pause()"]
    ours, theirs = (
        subprocess.Popen(command, env=os.environ | {TAG: each.tag}, stdout=subprocess.PIPE)
        for each in (folder, other)
    )
    for process in (ours, theirs):
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"

    # When this folder's are ended
    try:
        names = folder.stop_strays()

        # Then only they are
        assert [f"(process {ours.pid})" in name for name in names] == [True]
        assert ours.wait(5) != 0
        assert theirs.poll() is None
    finally:
        for process in (ours, theirs):
            process.kill()
            process.communicate()


def test_what_is_discarded_takes_along_what_postgres_keeps_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = Folder(tmp_path / "data")
    folder.path.mkdir()
    (folder.path / "postgres").symlink_to(elsewhere)

    folder.discard()

    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_is_closed_to_others(tmp_path: Path) -> None:
    """PostgreSQL's account passes through if we are root."""
    with Folder(tmp_path / "deep" / "data").locked():
        assert (tmp_path / "deep" / "data").stat().st_mode & 0o066 == 0


def test_a_folder_of_an_earlier_version_and_its_logs_are_closed_to_others(tmp_path: Path) -> None:
    old = tmp_path / "data"
    (old / "logs").mkdir(parents=True)
    (old / "logs" / "api.log").write_text("a line")
    for path, mode in ((old / "stack.lock", 0o644), (old / "logs", 0o755), (old, 0o755)):
        path.touch()
        path.chmod(mode)

    with Folder(old).locked():
        fresh_log(old / "logs" / "api.log")
        fresh_log(old / "logs" / "new.log")

        assert old.stat().st_mode & 0o066 == 0
        assert (old / "logs").stat().st_mode & 0o777 == 0o700
        for name in ("stack.lock", "logs/api.log", "logs/new.log"):
            assert (old / name).stat().st_mode & 0o777 == 0o600, name


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o2775, 0o1777])
def test_a_folder_that_somebody_else_made_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(mode)

    for _ in range(2):  # the second stack finds the first one's lock
        with Folder(theirs).locked():
            assert theirs.stat().st_mode & 0o7777 == mode
            assert (theirs / "logs").stat().st_mode & 0o777 == 0o700
            assert (theirs / "stack.lock").stat().st_mode & 0o777 == 0o600


def test_a_folder_for_everybody_is_never_closed(tmp_path: Path) -> None:
    """An earlier version may have left its lock in /tmp itself."""
    (tmp_path / "stack.lock").touch(mode=0o644)
    tmp_path.chmod(0o1777)

    with Folder(tmp_path).locked():
        assert tmp_path.stat().st_mode & 0o7777 == 0o1777
