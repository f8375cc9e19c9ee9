"""A process that sends large bodies at once: `python -m benchmarks.body_sender PORT KEY COUNT`.

It prints how many got which status, and 0 for those that got none.
"""

import asyncio
import json
import sys
from collections import Counter

#: Size of a body, just below what the API takes, in bytes.
SIZE = 25 * 2**20 - 2**10
#: Seconds after which a body counts as unanswered.
PATIENCE = 120.0
PATH = "/v1/video/generations"


async def ask(
    port: int, key: str, method: str, path: str, body: bytes = b"", *, within: float = PATIENCE
) -> tuple[int, bytes]:
    """Status and body of an answer; raises TimeoutError, OSError or EOFError."""
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            )
            writer.write(body)
            # The answer may come before all of the body is sent.
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(None, 1)[0]
            rest = await reader.readexactly(int(length))
        finally:
            writer.transport.abort()
    return int(head.split(None, 2)[1]), rest


def bodies() -> list[bytes]:
    """One with two pictures, and one with millions of small values."""
    picture = "data:image/png;base64,iVBORw0KGgoA" + "A" * (SIZE // 2 - 2**10)
    pictures = {"prompt": "a fox", "model": "kling-3.0", "image": picture, "last_image": picture}
    values = b'{"prompt": "a fox", "metadata": {"x": [' + b"[]," * (SIZE // 3 - 2**8) + b"0]}}"
    return [json.dumps(pictures).encode(), values]


async def _flood(port: int, key: str, count: int) -> Counter[int]:
    both = bodies()

    async def one(number: int) -> int:
        try:
            return (await ask(port, key, "POST", PATH, both[number % len(both)]))[0]
        except (TimeoutError, OSError, EOFError):
            return 0

    return Counter(await asyncio.gather(*map(one, range(count))))


def main() -> None:
    port, key, count = sys.argv[1:]
    found = asyncio.run(_flood(int(port), key, int(count)))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
