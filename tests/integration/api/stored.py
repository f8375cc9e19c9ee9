"""What a job was stored with, its pictures put back where its scene names them."""

from typing import Any

from tests.integration.api.conftest import Api


async def whole_scene(api: Api, sealed: bytes) -> dict[str, Any]:
    """The opened scene with its pictures as they were given."""
    vault = api.front.engine.vault
    rows = await api.fetch("SELECT id, sealed FROM picture")
    pictures = {row["id"]: vault.open(row["sealed"]).decode() for row in rows}

    def whole(value: Any) -> Any:
        match value:
            case {"picture": id_}:
                return pictures[id_]
            case dict():
                return {name: whole(each) for name, each in value.items()}
            case list():
                return [whole(each) for each in value]
            case _:
                return value

    scene: dict[str, Any] = whole(vault.open_json(sealed))
    return scene
