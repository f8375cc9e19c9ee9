"""The table that a conformance run ends with: who judged what, counted from passed tests."""

import re
from collections import Counter
from importlib.metadata import version

import pytest

from providers.registry import PROVIDERS
from tests.conformance.driving import CLIENTS

#: Whose own client, or whose documents, a provider is compared with.
JUDGED_BY = {
    "runway": "runwayml",
    "luma_agents": "luma-agents",
    "luma_dream_machine": "lumaai",
    "veo": "google-genai",
    "gemini": "google-genai",
    "gemini_veo": "google-genai-2",
    "fal": "fal-client",
    "replicate": "replicate",
    "openai_videos": "openai",
    "kling": "documents",
    "kling_legacy": "documents",
    "minimax": "documents",
    "minimax_v2": "documents",
    "aimlapi": "aimlapi-sdk-python",
    "aimlapi_legacy": "langchain-aimlapi, a page",
    "lunos": "@lunos/client",
    "perf": "its page's programs",
    "layer": "its page's samples",
}

_SIMULATORS = {
    "test_simulator_sdk": ("runway", "luma_agents"),
    "test_simulator_fal": ("fal",),
    "test_simulator_google": ("veo", "gemini"),
    "test_simulator_gemini_veo": ("gemini_veo",),
    "test_simulator_kling": ("kling", "kling_legacy"),
    "test_simulator_luma_dream_machine": ("luma_dream_machine",),
    "test_simulator_minimax": ("minimax", "minimax_v2"),
    "test_simulator_openai": ("openai_videos",),
    "test_simulator_replicate": ("replicate",),
    "test_simulator_aimlapi": ("aimlapi",),
    "test_simulator_aimlapi_legacy": ("aimlapi_legacy",),
    "test_simulator_lunos": ("lunos",),
    "test_simulator_gateways": ("perf", "layer"),
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report.nodeid for report in terminalreporter.getreports("passed")]
    ours = [nodeid for nodeid in passed if "tests/conformance/" in nodeid]
    if not ours:
        return
    requests, answers, by_us, by_them = (
        Counter[str](),
        Counter[str](),
        Counter[str](),
        Counter[str](),
    )
    for nodeid in ours:
        module = nodeid.partition("::")[0].rpartition("/")[2].removesuffix(".py")
        name = _provider(nodeid)
        match module:
            case "test_requests":
                requests[name] += 1
            case "test_requests_answers":
                answers[name] += 1
            case "test_adapters_on_the_simulator":
                by_us[name] += 1
            case _ if module in _SIMULATORS:
                for each in [name] if name else _SIMULATORS[module]:
                    by_them[each] += 1
    terminalreporter.section("conformance: tests that passed")
    line = "{:<19}{:<38}{:>9}{:>9}{:>13}{:>16}".format
    terminalreporter.write_line(
        line("provider", "judge", "requests", "answers", "our adapter", "simulator judged")
    )
    for name in PROVIDERS:
        counts = (requests[name], answers[name], by_us[name], by_them[name])
        terminalreporter.write_line(line(name, _judge(name), *counts))


def _provider(nodeid: str) -> str:
    """The provider that a test was run for, or nothing."""
    inside = re.search(r"\[(.*)\]", nodeid)
    given = inside.group(1) if inside else ""
    named = [name for name in PROVIDERS if re.match(rf"{name}(?![a-z_])", given)]
    return max(named, key=len, default="")


def _judge(name: str) -> str:
    judge, comma, beside = JUDGED_BY[name].partition(",")  # one without a judge is told here
    if " " in judge or judge == "documents":
        return judge
    if judge not in CLIENTS:
        return f"{judge} {version(judge)}{comma}{beside}"
    client = CLIENTS[judge]
    # Where it is missing its tests have failed and said what to do.
    installed = client.version if client.home.exists() else "is missing"
    return f"{client.package} {installed}{comma}{beside}"
