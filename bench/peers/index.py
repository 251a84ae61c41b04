"""The wheel's RadixTree and SelectionService: calls per second and percentiles for
{verb: apply | find | select | reserve | selectMany, blocks, workers, prompts, blockSize, ms}."""

import asyncio
import json
import random
import struct
import sys
import time

from dynamo.llm import RadixTree, SelectionService


def chain(seed, blocks):
    numbers = random.Random(seed)
    return [numbers.getrandbits(63) for _ in range(blocks)]


def stored(event_id, names, tokens):
    blocks = [{"block_hash": name, "tokens_hash": token} for name, token in zip(names, tokens)]
    data = {"stored": {"parent_hash": None, "start_position": 0, "blocks": blocks}}
    return json.dumps({"event_id": event_id, "data": data, "dp_rank": 0}).encode()


def figures(latencies, seconds):
    latencies.sort()
    return {
        "perSecond": len(latencies) / seconds,
        "p50Us": latencies[len(latencies) // 2] * 1e6,
        "p99Us": latencies[int(len(latencies) * 0.99)] * 1e6,
    }


def measured(calls, ms):
    latencies = []
    begin = time.perf_counter()
    end = begin + ms / 1000
    while True:
        before = time.perf_counter()
        if before >= end:
            break
        next(calls)
        latencies.append(time.perf_counter() - before)
    return figures(latencies, time.perf_counter() - begin)


def applies(blocks, workers):
    """Applies prompts that are new to each worker. Begins a new tree after all prompts."""
    made = [stored(index, chain(index, blocks), chain(-index - 1, blocks)) for index in range(256)]
    while True:
        tree = RadixTree()
        for worker in range(workers):
            for event in made:
                tree.apply_event(worker, event)
                yield


def finds(blocks, workers, prompts):
    tree = RadixTree()
    chains = [chain(-index - 1, blocks) for index in range(prompts)]
    for index, tokens in enumerate(chains):
        names = chain(index, blocks)
        for worker in range(workers):
            count = blocks if worker % 2 == 0 else blocks // 2
            tree.apply_event(worker, stored(index, names[:count], tokens[:count]))
    while True:
        for tokens in chains:
            yield tree.find_matches(tokens)


class Engine:
    """Publishes like vLLM's engine: topic, sequence, and a batch in MessagePack."""

    def __init__(self, context):
        import zmq

        self.socket = context.socket(zmq.PUB)
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.sequence = 0

    def stored(self, names, tokens, block_size):
        import msgspec

        event = {
            "type": "BlockStored",
            "block_hashes": names,
            "parent_block_hash": None,
            "token_ids": tokens,
            "block_size": block_size,
            "lora_id": None,
        }
        batch = msgspec.msgpack.encode([0.5, [event], None])
        self.socket.send_multipart([b"", struct.pack(">Q", self.sequence), batch])
        self.sequence += 1


async def selecting(command):
    """A service that has received the blocks of its workers, and the prompts. The workers have the prompts in turn."""
    import zmq

    service = SelectionService(indexer_threads=4)
    block_size = command["blockSize"]
    context = zmq.Context()
    engines = [Engine(context) for _ in range(command["workers"])]
    for worker, engine in enumerate(engines):
        await service.upsert_worker(
            {
                "worker_id": worker,
                "endpoint": str(worker),
                "block_size": block_size,
                "kv_events_endpoints": {0: engine.endpoint},
            }
        )
    blocks = command["blocks"]
    prompts = [
        [prompt * 1_000_003 + at for at in range(blocks * block_size)] for prompt in range(command["prompts"])
    ]
    for index, tokens in enumerate(prompts):
        worker = index % len(engines)
        names = chain(index, blocks)
        # A subscriber receives only events that are published after it has connected.
        while True:
            engines[worker].stored(names, tokens, block_size)
            await asyncio.sleep(0.002)
            scores = await service.overlap_scores({"token_ids": tokens})
            found = [score["device_blocks"] for score in scores["workers"] if score["worker_id"] == worker]
            if blocks in found:
                break
    return service, prompts, context


async def selections(command):
    service, prompts, context = await selecting(command)
    turn = 0

    async def select():
        nonlocal turn
        turn += 1
        await service.select({"token_ids": prompts[turn % len(prompts)]})

    async def reserve():
        nonlocal turn
        turn += 1
        selected = await service.select_and_reserve({"token_ids": prompts[turn % len(prompts)]})
        await service.free_reservation(selected["selection_id"])

    async def lane(call, end):
        latencies = []
        while (before := time.perf_counter()) < end:
            await call()
            latencies.append(time.perf_counter() - before)
        return latencies

    call, lanes = (reserve if command["verb"] == "reserve" else select), (32 if command["verb"] == "selectMany" else 1)
    for ms in (command["ms"] / 4, command["ms"]):
        begin = time.perf_counter()
        lane_latencies = await asyncio.gather(*(lane(call, begin + ms / 1000) for _ in range(lanes)))
        result = figures([one for each in lane_latencies for one in each], time.perf_counter() - begin)
    service.shutdown()
    context.destroy(linger=0)
    return result


def indexed(command):
    if command["verb"] == "apply":
        calls = applies(command["blocks"], command["workers"])
    else:
        calls = finds(command["blocks"], command["workers"], command["prompts"])
    next(calls)
    measured(calls, command["ms"] / 4)
    return measured(calls, command["ms"])


print(json.dumps({"bench": {"ready": True}}, separators=(",", ":")), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    result = indexed(command) if command["verb"] in ("apply", "find") else asyncio.run(selections(command))
    print(json.dumps({"bench": result}, separators=(",", ":")), flush=True)
