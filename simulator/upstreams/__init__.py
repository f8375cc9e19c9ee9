"""The simulated vendors, in the order in which the server mounts them."""

from typing import Final

from simulator.upstream import Upstream
from simulator.upstreams.fal.fal import Fal
from simulator.upstreams.gateways.aimlapi import Aimlapi
from simulator.upstreams.gateways.aimlapi_legacy import AimlapiLegacy
from simulator.upstreams.gateways.layer import Layer
from simulator.upstreams.gateways.lunos import Lunos
from simulator.upstreams.gateways.openai_videos import OpenaiVideos
from simulator.upstreams.gateways.perf import Perf
from simulator.upstreams.google.gemini import Gemini
from simulator.upstreams.google.gemini_veo import GeminiVeo
from simulator.upstreams.google.veo import Veo
from simulator.upstreams.kling.kling import Kling
from simulator.upstreams.kling.kling_legacy import KlingLegacy
from simulator.upstreams.luma_agents import LumaAgents
from simulator.upstreams.luma_dream_machine import LumaDreamMachine
from simulator.upstreams.minimax.minimax import Minimax
from simulator.upstreams.minimax.minimax_v2 import MinimaxV2
from simulator.upstreams.replicate import Replicate
from simulator.upstreams.runway import Runway

#: KlingLegacy is under Kling's prefix, GeminiVeo under Gemini's, AimlapiLegacy under Aimlapi's: the
#: parent's 404 route would match first if mounted earlier.
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
