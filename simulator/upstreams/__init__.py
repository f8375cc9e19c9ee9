"""The simulated vendors, one module each; this list is what the server mounts."""

from typing import Final

from simulator.upstream import Upstream
from simulator.upstreams.luma_agents import LumaAgents
from simulator.upstreams.runway import Runway

UPSTREAMS: Final[tuple[type[Upstream], ...]] = (Runway, LumaAgents)
