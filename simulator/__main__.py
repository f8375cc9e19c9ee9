"""The command: `python -m simulator --port N`."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from simulator.app import serving
from simulator.world import Options, World


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; prints one line, the base URL."""
    asked = _parser().parse_args(arguments)
    _log_as_json()
    options = Options(
        speed=asked.speed,
        seed=asked.seed,
        concurrency=asked.concurrency or None,
        cap=asked.cap or None,
        tiny=asked.tiny,
        drip=asked.drip,
    )
    try:
        asyncio.run(_serve(options, host=asked.host, port=asked.port))
    except OSError as error:
        sys.exit(f"simulator: {error.strerror}")


async def _serve(options: Options, *, host: str, port: int) -> None:
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    async with serving(World(options), host=host, port=port) as address:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        await stopped.wait()


class _Json(logging.Formatter):
    """A line of the shape that the processes beside the simulator write."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, str] = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _log_as_json() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(capture=True)


def _parser() -> argparse.ArgumentParser:
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="Serves every video vendor's API, with playable videos and faults on demand.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind")
    parser.add_argument("--port", type=int, required=True, help="0 chooses a free one")
    parser.add_argument(
        "--speed", type=_positive, default=default.speed, help="multiple of the vendors' own pace"
    )
    parser.add_argument(
        "--seed", type=int, default=default.seed, help="varies durations and videos"
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=default.concurrency,
        help="running operations per model at vendors that queue the rest; 0: no limit",
    )
    parser.add_argument(
        "--cap",
        type=int,
        default=default.cap,
        help="unfinished operations at vendors that refuse more; 0: no limit",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="serve one fixed clip of 200 kB, for benchmarks"
    )
    parser.add_argument(
        "--drip", type=_positive, default=default.drip, help="seconds of a [sim:drip] download"
    )
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


if __name__ == "__main__":
    main()
