"""The wheel's RadixTree and SelectionService: calls a second and percentiles of
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


def figures(took, seconds):
    took.sort()
    return {"perSecond": len(took) / seconds, "p50Us": took[len(took) // 2] * 1e6, "p99Us": took[int(len(took) * 0.99)] * 1e6}


def measured(calls, ms):
    took = []
    begin = time.perf_counter()
    end = begin + ms / 1000
    while True:
        before = time.perf_counter()
        if before >= end:
            break
        next(calls)
        took.append(time.perf_counter() - before)
    return figures(took, time.perf_counter() - begin)


def applies(blocks, workers):
    """Chains that are new to each worker; a new tree once all workers have all."""
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
            have = blocks if worker % 2 == 0 else blocks // 2
            tree.apply_event(worker, stored(index, names[:have], tokens[:have]))
    while True:
        for tokens in chains:
            yield tree.find_matches(tokens)


class Engine:
    """Publishes as vLLM's engine does: topic, sequence, and a batch in MessagePack."""

    def __init__(self, context):
        import zmq

        self.socket = context.socket(zmq.PUB)
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.sequence = 0

    def stored(self, names, tokens, block_size):
        import msgspec

        event = {"type": "BlockStored", "block_hashes": names, "parent_block_hash": None, "token_ids": tokens, "block_size": block_size, "lora_id": None}
        batch = msgspec.msgpack.encode([0.5, [event], None])
        self.socket.send_multipart([b"", struct.pack(">Q", self.sequence), batch])
        self.sequence += 1


async def selecting(asked):
    """A service whose workers have told it of their blocks, and the prompts: each worker has every so many-th."""
    import zmq

    service = SelectionService(indexer_threads=4)
    block_size = asked["blockSize"]
    context = zmq.Context()
    engines = [Engine(context) for _ in range(asked["workers"])]
    for worker, engine in enumerate(engines):
        await service.upsert_worker(
            {"worker_id": worker, "endpoint": str(worker), "block_size": block_size, "kv_events_endpoints": {0: engine.endpoint}}
        )
    prompts = [[prompt * 1_000_003 + at for at in range(asked["blocks"] * block_size)] for prompt in range(asked["prompts"])]
    for index, tokens in enumerate(prompts):
        worker = index % len(engines)
        names = chain(index, asked["blocks"])
        # A subscriber hears of what comes after it has connected.
        while True:
            engines[worker].stored(names, tokens, block_size)
            await asyncio.sleep(0.002)
            scores = await service.overlap_scores({"token_ids": tokens})
            if any(score["worker_id"] == worker and score["device_blocks"] == asked["blocks"] for score in scores["workers"]):
                break
    return service, prompts, context


async def selections(asked):
    service, prompts, context = await selecting(asked)
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
        took = []
        while (before := time.perf_counter()) < end:
            await call()
            took.append(time.perf_counter() - before)
        return took

    call, lanes = (reserve if asked["verb"] == "reserve" else select), (32 if asked["verb"] == "selectMany" else 1)
    for ms in (asked["ms"] / 4, asked["ms"]):
        begin = time.perf_counter()
        took = await asyncio.gather(*(lane(call, begin + ms / 1000) for _ in range(lanes)))
        got = figures([one for each in took for one in each], time.perf_counter() - begin)
    service.shutdown()
    context.destroy(linger=0)
    return got


def indexed(asked):
    if asked["verb"] == "apply":
        calls = applies(asked["blocks"], asked["workers"])
    else:
        calls = finds(asked["blocks"], asked["workers"], asked["prompts"])
    next(calls)
    measured(calls, asked["ms"] / 4)
    return measured(calls, asked["ms"])


print(json.dumps({"bench": {"ready": True}}, separators=(",", ":")), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    got = indexed(asked) if asked["verb"] in ("apply", "find") else asyncio.run(selections(asked))
    print(json.dumps({"bench": got}, separators=(",", ":")), flush=True)
