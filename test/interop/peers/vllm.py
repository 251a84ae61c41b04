"""A peer on pyzmq and msgspec that speaks as vLLM's connector and event publisher do.

ask HOST PORT [TP_RANK]: a reader, which asks a side channel once.
serve: a side channel for one question; prints its port.
publish bind|connect PORT: publishes the KV events of standard input, one batch of JSON a line.
"""

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import zmq

from lines import emit


@dataclass
class Metadata:
    engine_id: str
    agent_metadata: bytes
    kv_caches_base_addr: list[int]
    device_id: int
    num_blocks: int
    block_lens: list[int]
    block_strides: list[int]
    kv_cache_layout: str
    block_size: int
    ssm_sizes: tuple[int, int]
    attn_backend_name: str
    physical_blocks_per_logical_kv_block: int
    region_mem_types: list[str] | None = None


@dataclass
class Payload:
    compatibility_hash: str
    agent_metadata_bytes: bytes


class Batch(msgspec.Struct, array_like=True):
    ts: float
    events: list[Any]
    data_parallel_rank: int | None = None


def ask(context, host, port, rank="0"):
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.connect(f"tcp://{host}:{port}")
    socket.send(msgspec.msgpack.encode((b"get_meta_msg", 0, int(rank))))
    frames = socket.recv_multipart()
    payload = msgspec.msgpack.decode(frames[0], type=Payload)
    metadata = msgspec.msgpack.decode(payload.agent_metadata_bytes, type=Metadata)
    clock = msgspec.msgpack.decode(frames[1])
    emit(
        "answer",
        frames=len(frames),
        hash=payload.compatibility_hash,
        addresses=[str(address) for address in metadata.kv_caches_base_addr],
        engine=metadata.engine_id,
        agent=metadata.agent_metadata.hex(),
        strides=metadata.block_strides,
        offset=clock - time.perf_counter(),
    )


def serve(context):
    socket = context.socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    emit("listening", port=port)
    identity, _, question = socket.recv_multipart()
    message, pipeline, tensor = msgspec.msgpack.decode(question)
    emit("question", message=message.decode(), pipeline=pipeline, tensor=tensor)
    metadata = Metadata(
        engine_id="python",
        agent_metadata=b"\x00\xff",
        kv_caches_base_addr=[2**33 + 1, 2**64 - 4096],
        device_id=0,
        num_blocks=8,
        block_lens=[4096, 4096],
        block_strides=[8192, 8192],
        kv_cache_layout="LBHNC",
        block_size=16,
        ssm_sizes=(0, 0),
        attn_backend_name="CPU_ATTN",
        physical_blocks_per_logical_kv_block=2,
    )
    payload = Payload("b" * 64, msgspec.msgpack.encode(metadata))
    frames = (identity, b"", msgspec.msgpack.encode(payload), msgspec.msgpack.encode(time.perf_counter()))
    socket.send_multipart(frames)
    socket.close(linger=2000)


def publish(context, mode, port):
    socket = context.socket(zmq.PUB)
    if mode == "bind":
        port = socket.bind_to_random_port("tcp://127.0.0.1")
    else:
        socket.connect(f"tcp://127.0.0.1:{port}")
    emit("listening", port=int(port))
    for sequence, line in enumerate(sys.stdin):
        events = json.loads(line)
        batch = Batch(time.time(), events, 0)
        socket.send_multipart((b"kv", sequence.to_bytes(8, "big"), msgspec.msgpack.encode(batch)))


context = zmq.Context()
{"ask": ask, "serve": serve, "publish": publish}[sys.argv[1]](context, *sys.argv[2:])
context.term()
