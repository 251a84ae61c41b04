"""Shared by the Python peers: lines of JSON to and from the test, and the text of a value as TypeScript writes it."""

import asyncio
import json
import os
import sys

FIXTURE = {
    "u64": 2**64 - 1,
    "i64": -(2**63),
    "beyond_double": 2**53 + 1,
    "small": 7,
    "negative": -7,
    "bytes": b"\x00\xff\x80",
    "nan": float("nan"),
    "infinite": float("-inf"),
    "half": 0.5,
    "text": "žluťoučký 🐎",
    "nested": [[{"a": None}], True, False, []],
    "empty": {},
}


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def describe(value):
    """A value with its types, as text. `test/helpers/interop/describe-value.ts` returns the same text for it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"int {value}"
    if isinstance(value, float):
        return f"int {int(value)}" if value.is_integer() else f"float {value!r}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"bytes {bytes(value).hex()}"
    if isinstance(value, str):
        return f"text {value}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {describe(value[key])}" for key in sorted(value)) + "}"
    return "[" + ", ".join(describe(item) for item in value) + "]"


async def commands():
    """The test's commands, until it closes this process's stdin."""
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


def finish():
    """Ends the process without waiting for what its native threads still do."""
    sys.stdout.flush()
    os._exit(0)
