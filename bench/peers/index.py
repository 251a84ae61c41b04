"""The wheel's RadixTree: {verb: apply | find, blocks, workers, prompts, ms} gives calls a second and percentiles."""

import json
import random
import sys
import time

from dynamo.llm import RadixTree


def chain(seed, blocks):
    numbers = random.Random(seed)
    return [numbers.getrandbits(63) for _ in range(blocks)]


def stored(event_id, names, tokens):
    blocks = [{"block_hash": name, "tokens_hash": token} for name, token in zip(names, tokens)]
    data = {"stored": {"parent_hash": None, "start_position": 0, "blocks": blocks}}
    return json.dumps({"event_id": event_id, "data": data, "dp_rank": 0}).encode()


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
    seconds = time.perf_counter() - begin
    took.sort()
    return {"perSecond": len(took) / seconds, "p50Us": took[len(took) // 2] * 1e6, "p99Us": took[int(len(took) * 0.99)] * 1e6}


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


print(json.dumps({"bench": {"ready": True}}, separators=(",", ":")), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["verb"] == "apply":
        calls = applies(asked["blocks"], asked["workers"])
    else:
        calls = finds(asked["blocks"], asked["workers"], asked["prompts"])
    next(calls)
    measured(calls, asked["ms"] / 4)
    print(json.dumps({"bench": measured(calls, asked["ms"])}, separators=(",", ":")), flush=True)
