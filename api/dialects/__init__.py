"""Dialects: other vendors' HTTP APIs, spoken by our server beside the native one.

A dialect is one module of this package that makes a `Dialect` (`api.dialects.dialect`):

- `prefixes`: the paths below which everything is the dialect's, as in `("/v1/videos",)`. A prefix
  ends where a segment of the path ends. Of two prefixes the longer one wins; the native API has the
  rest.
- `router`: an APIRouter whose routes have full paths below these prefixes. With
  `route_class=TenantRoute` they require an API key. A route maps its request to a use case
  (`tasks.jobs`, `tasks.deliveries`) and the row to its own shape; it raises RequestRefused. A
  submission's response has the headers of `api.answers.limit_headers`.
- `errors`: an `api.errors.Renderer`, which shapes every error below the prefixes, also those of
  routes that don't exist, bodies that are too large, invalid keys, and our own faults.

What dialects have in common: `fields` reads a body leniently, `forms` one that is a form,
`submitting` adapts and accepts it (`catalog.adapt`), `ids` spells job ids, `words` maps every
public status to the dialect's word.

One more line, in DIALECTS below, registers a dialect.
"""

from typing import Final

from api.dialects.aimlapi import AIMLAPI
from api.dialects.dialect import Dialect
from api.dialects.imagineo import IMAGINEO
from api.dialects.layer import LAYER
from api.dialects.lunos import LUNOS
from api.dialects.openai_videos import OPENAI_VIDEOS
from api.dialects.perf import PERF

DIALECTS: Final[tuple[Dialect, ...]] = (LAYER, IMAGINEO, PERF, AIMLAPI, LUNOS, OPENAI_VIDEOS)
