"""Publishes forward-pass metrics, or receives them: events.py publish|receive PATH."""

import asyncio
import sys
import threading

from dynamo.llm import FpmDirectPublisher, FpmEventSubscriber
from dynamo.runtime import DistributedRuntime
from lines import commands, emit, finish


def snapshot(wall_time):
    names = [
        "scheduled_num_prefill_requests",
        "scheduled_sum_prefill_tokens",
        "scheduled_sum_prefill_kv_tokens",
        "scheduled_num_decode_requests",
        "scheduled_sum_decode_kv_tokens",
        "queued_num_prefill_requests",
        "queued_sum_prefill_tokens",
        "queued_num_decode_requests",
        "queued_sum_decode_kv_tokens",
    ]
    return {"dp_rank": 0, "wall_time_secs": wall_time, **{name: index for index, name in enumerate(names)}}


def receive(subscriber):
    while (payload := subscriber.recv()) is not None:
        emit("received", hex=bytes(payload).hex())


async def main(role, path):
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    endpoint = runtime.endpoint(path)
    if role == "publish":
        publisher = FpmDirectPublisher(endpoint, "python-worker")
    else:
        subscriber = FpmEventSubscriber(endpoint)
        threading.Thread(target=receive, args=[subscriber], daemon=True).start()
    emit("ready")
    async for command in commands():
        publisher.publish(**snapshot(command["wall_time"]))
    finish()


asyncio.run(main(*sys.argv[1:]))
