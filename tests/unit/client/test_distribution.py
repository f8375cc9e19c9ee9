"""The distribution: one source for both clients, httpx alone, typed, a wheel that has it all."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import longtake

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "client"
PROJECT = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]


def run(*command: str | Path, folder: Path = ROOT) -> str:
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_sync_client_is_generated_from_the_async_one() -> None:
    run(CLIENT / "make_sync.py", "--check")


def test_a_stale_sync_client_is_noticed(tmp_path: Path) -> None:
    program = tmp_path / "make_sync.py"
    program.write_text((CLIENT / "make_sync.py").read_text())
    (tmp_path / "longtake/_async").mkdir(parents=True)
    (tmp_path / "longtake/_sync").mkdir()
    (tmp_path / "longtake/_async/a.py").write_text("async def f():\n    await async_g()\n")

    run(program)

    written = tmp_path / "longtake/_sync/a.py"
    assert "def f():\n    g()\n" in written.read_text()
    assert "async" not in written.read_text().split("\n", 1)[1]
    written.write_text(written.read_text() + "x = 1\n")
    stale = subprocess.run([sys.executable, program, "--check"], check=False, timeout=60)
    assert stale.returncode == 1


def test_importing_it_brings_httpx_alone() -> None:
    def loaded(module: str) -> set[str]:
        script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
        return set(run("-I", "-c", script).split())

    brought = loaded("longtake") - loaded("httpx") - set(sys.stdlib_module_names)
    assert brought == {"longtake"}


def test_its_extras_and_its_dependency_are_declared() -> None:
    assert [each.partition(">")[0] for each in PROJECT["dependencies"]] == ["httpx"]
    assert set(PROJECT["optional-dependencies"]) == {"celery", "django", "fastapi", "seal"}


def test_the_wheel_is_typed_and_has_every_module(tmp_path: Path) -> None:
    run("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, folder=CLIENT)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}
    folder = CLIENT / "longtake"
    written = {path.relative_to(CLIENT).as_posix() for path in folder.rglob("*.py")}
    assert packed == written | {"longtake/py.typed"}
    # And it works where nothing else of ours is.
    script = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import longtake; print(longtake.__file__)"
    )
    assert run("-I", "-c", script).startswith(str(wheel))


def test_every_public_name_is_on_the_page() -> None:
    page = (CLIENT / "README.md").read_text()
    missing = [name for name in longtake.__all__ if f"`{name}" not in page]
    assert not missing


def test_every_public_method_is_on_the_page() -> None:
    page = (CLIENT / "README.md").read_text()
    for kind, prefix in ((longtake.Client, "client."), (longtake.Batches, "client.batches.")):
        methods = [name for name in vars(kind) if not name.startswith("_")]
        missing = [name for name in methods if f"`{prefix}{name}(" not in page]
        assert not missing, kind


def test_the_pages_python_is_python() -> None:
    for page in (CLIENT / "README.md", ROOT / "README.md"):
        blocks = page.read_text().split("```python\n")[1:]
        assert blocks
        for block in blocks:
            code = block.partition("```")[0]
            compile(code, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_version_is_told_to_servers() -> None:
    assert (
        f"longtake-python/{PROJECT['version']}"
        in (CLIENT / "longtake/_async/client.py").read_text()
    )
