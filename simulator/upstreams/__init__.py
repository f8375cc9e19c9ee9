"""The simulated vendors, one module each; this list is what the server mounts."""

from typing import Final

from simulator.upstream import Upstream
from simulator.upstreams.aimlapi import Aimlapi
from simulator.upstreams.aimlapi_legacy import AimlapiLegacy
from simulator.upstreams.fal import Fal
from simulator.upstreams.gemini import Gemini
from simulator.upstreams.gemini_veo import GeminiVeo
from simulator.upstreams.kling import Kling
from simulator.upstreams.kling_legacy import KlingLegacy
from simulator.upstreams.layer import Layer
from simulator.upstreams.luma_agents import LumaAgents
from simulator.upstreams.luma_dream_machine import LumaDreamMachine
from simulator.upstreams.lunos import Lunos
from simulator.upstreams.minimax import Minimax
from simulator.upstreams.minimax_v2 import MinimaxV2
from simulator.upstreams.openai_videos import OpenaiVideos
from simulator.upstreams.perf import Perf
from simulator.upstreams.replicate import Replicate
from simulator.upstreams.runway import Runway
from simulator.upstreams.veo import Veo

#: KlingLegacy lies below Kling's address, GeminiVeo below Gemini's, AimlapiLegacy below Aimlapi's:
#: the "nothing here" of each would answer if it came first.
UPSTREAMS: Final[tuple[type[Upstream], ...]] = (
    Runway,
    LumaAgents,
    LumaDreamMachine,
    KlingLegacy,
    Kling,
    Fal,
    Replicate,
    Veo,
    GeminiVeo,
    Gemini,
    Minimax,
    MinimaxV2,
    OpenaiVideos,
    AimlapiLegacy,
    Aimlapi,
    Lunos,
    Perf,
    Layer,
)
