"""The counterpart of load.mjs for the Python peers."""

import asyncio
import json
import os
import sys
import time


def report(answer):
    print(json.dumps({"bench": answer}, separators=(",", ":")), flush=True)


async def answer_commands(answer):
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            report(await answer(json.loads(line)))
        except Exception as error:
            report({"error": repr(error)})
    sys.stdout.flush()
    os._exit(0)


def text_of(size):
    return ("dynamo " * (size // 7 + 1))[:size]


async def drive(concurrency, ms, call):
    latencies = []
    items = 0
    begin = time.perf_counter()
    end = begin + ms / 1000

    async def lane():
        nonlocal items
        now = time.perf_counter()
        while True:
            got = await call()
            items += got
            after = time.perf_counter()
            latencies.append(after - now)
            now = after
            if now >= end:
                return

    await asyncio.gather(*(lane() for _ in range(concurrency)))
    seconds = time.perf_counter() - begin
    latencies.sort()

    def at(share):
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1000

    return {"calls": len(latencies), "items": items, "seconds": seconds, "p50Ms": at(0.5), "p99Ms": at(0.99)}


async def measure(command, calls):
    call = calls[command["kind"]](command["bytes"], command["count"])
    return await drive(command["concurrency"], command["ms"], call)


def expect_same(what, got, expected):
    if got != expected:
        raise ValueError(f"{what}: expected {expected}, got {got}")
