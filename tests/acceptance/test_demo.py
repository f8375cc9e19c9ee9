"""`longtake demo`: the main job, start to finish, as `make demo` runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import av

LONGTAKE = Path(sys.executable).with_name("longtake")


def test_the_demo_makes_a_video_of_every_prompt_and_leaves_only_them(data_dir: Path) -> None:
    # Given settings and credentials that the demo must not touch
    meant_for_others = {
        "LONGTAKE_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "LONGTAKE_SECRET_KEYS": "0" * 32,
        "RUNWAYML_API_SECRET": "key_" + "0" * 128,
        "RUNWAYML_BASE_URL": "http://127.0.0.1:9",
    }

    # When it runs
    answer = subprocess.run(
        [LONGTAKE, "demo"],
        check=False,
        env=os.environ | meant_for_others | {"LONGTAKE_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=240,
    )

    # Then every claim held
    assert answer.returncode == 0, answer.stderr + answer.stdout
    complete = re.search(r"(\d+) of (\d+) jobs are complete", answer.stdout)
    assert complete
    made, wanted = map(int, complete.groups())
    assert made == wanted >= 24
    programs = re.search(r"(\d+) of (\d+) programs of other systems finished", answer.stdout)
    assert programs
    assert programs[1] == programs[2]
    for name in ("OpenAI (openai ", "Perf (Python)", "Imagineo (Python)"):
        assert name in answer.stdout.partition(programs[0])[2].splitlines()[0]
    assert "double-billed: 0" in answer.stdout
    assert "✗" not in answer.stdout

    # And what is left are its videos, which play, and its logs
    folder = data_dir / "demo-1"
    assert str(folder) in answer.stdout
    films = sorted(folder.glob("*.mp4"))
    assert {path.name for path in folder.iterdir()} == {*(film.name for film in films), "logs"}
    assert len(films) == wanted + int(programs[1])
    for film in films:
        with av.open(film) as container:
            assert next(container.decode(video=0)).width > 0
