"""The shape of a dialect: its prefixes, its routes and how it shows errors."""

from dataclasses import dataclass

from fastapi import APIRouter

from api.errors import Renderer


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One vendor's API, spoken by our server; see `api.dialects`."""

    prefixes: tuple[str, ...]
    router: APIRouter
    errors: Renderer
