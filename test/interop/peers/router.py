"""The wheel's answers for the router's tests: router.py tree FILE | hash | relay ENDPOINT | replay TRACE."""

import asyncio
import json
import struct
import sys
import threading

from dynamo.llm import RadixTree, compute_block_hash_for_seq
from lines import commands, emit, finish


def tree(path):
    """Applies a file of events, `[worker, event]`. Answers each query, `[hashes]`, with `[worker, rank, score]`s."""
    radix = RadixTree()
    refused = 0
    for line in open(path):
        entry = json.loads(line)
        if "event" in entry:
            try:
                radix.apply_event(entry["worker"], json.dumps(entry["event"]).encode())
            except RuntimeError:
                refused += 1
        elif "remove" in entry:
            radix.remove_worker(entry["remove"])
        else:
            scores = radix.find_matches(entry["query"]).scores
            emit("scores", rows=sorted([str(worker), rank, score] for (worker, rank), score in scores.items()))
    emit("done", refused=refused)


async def hashes():
    emit("ready")
    async for command in commands():
        options = {key: command.get(key) for key in ("lora_name", "cache_namespace", "is_eagle", "block_mm_infos")}
        found = compute_block_hash_for_seq(command["tokens"], command["block_size"], **options)
        emit("hashes", hashes=[str(value) for value in found])
    finish()


async def relay(endpoint):
    """Publishes as vLLM's engine does: topic, sequence, and a batch in MessagePack, or what a test has packed."""
    import msgspec
    import zmq

    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    port = socket.bind_to_random_port(endpoint)
    replaying = context.socket(zmq.ROUTER)
    replay_port = replaying.bind_to_random_port(endpoint)
    batches = []

    def replay_missed():
        while True:
            asker, _, first = replaying.recv_multipart()
            for sequence in range(struct.unpack(">Q", first)[0], len(batches)):
                replaying.send_multipart([asker, b"", struct.pack(">Q", sequence), batches[sequence]])
            replaying.send_multipart([asker, b"", b"\xff" * 8, b""])

    threading.Thread(target=replay_missed, daemon=True).start()
    emit("ready", port=port, replay=replay_port)
    async for command in commands():
        packed = command.get("packed")
        batch = bytes.fromhex(packed) if packed else msgspec.msgpack.encode([0.5, command["events"], None])
        batches.append(batch)
        # One that is missed is kept to be replayed, and not sent.
        if not command.get("missed"):
            socket.send_multipart([command.get("topic", "").encode(), struct.pack(">Q", len(batches) - 1), batch])
    finish()


def replay(trace):
    from dynamo._core import run_mocker_trace_replay

    for line in sys.stdin:
        options = json.loads(line)
        emit("report", summary=run_mocker_trace_replay([trace], **options).summary)


if sys.argv[1] == "tree":
    tree(sys.argv[2])
elif sys.argv[1] == "hash":
    asyncio.run(hashes())
elif sys.argv[1] == "relay":
    asyncio.run(relay(sys.argv[2]))
else:
    replay(sys.argv[2])
