"""The table that a conformance run ends with: who judged what, counted from passed tests."""

import re
from collections import Counter
from collections.abc import Iterator
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


#: The table's columns: what a passed test counts as.
COLUMNS = ("requests", "statuses", "error codes", "other answers", "jobs by us", "jobs by judge")
_OF_MODULE = {
    "test_requests": "requests",
    "test_adapters_on_the_simulator": "jobs by us",
    "test_catalogue_on_the_simulator": "jobs by us",
}
_OF_TEST = {
    "test_a_documented_word_comes_to_its_phase": "statuses",
    "test_an_undocumented_word_is_loud": "statuses",
    "test_the_table_has_every_word_of_the_sdk": "statuses",
    "test_a_failure_code_comes_to_its_fault": "error codes",
    "test_an_error_answer_to_a_submit_comes_to_its_fault": "error codes",
    "test_a_429_carries_its_retry_after": "error codes",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report.nodeid for report in terminalreporter.getreports("passed")]
    counts = Counter(
        counted
        for nodeid in passed
        if "tests/conformance/" in nodeid
        for counted in _counted(nodeid)
    )
    if not counts:
        return
    terminalreporter.section("conformance: tests that passed")
    line = ("{:<19}{:<31}" + "{:>15}" * len(COLUMNS)).format
    terminalreporter.write_line(line("provider", "judge", *COLUMNS))
    for name in PROVIDERS:
        of_name = (counts[name, column] for column in COLUMNS)
        terminalreporter.write_line(line(name, _judge(name), *of_name))


def _counted(nodeid: str) -> Iterator[tuple[str, str]]:
    """The providers that a test speaks of, each with its column."""
    path, _, test = nodeid.partition("::")
    module = path.rpartition("/")[2].removesuffix(".py")
    name, words = _provider(nodeid), test.partition("[")[0]
    if module in _OF_MODULE:
        yield name, _OF_MODULE[module]
    elif module == "test_requests_answers":
        yield name, _OF_TEST.get(words, "other answers")
    else:
        column = "jobs by us" if "our_adapter" in words else "jobs by judge"
        for each in [name] if name else _SIMULATORS.get(module, ()):
            yield each, column


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
