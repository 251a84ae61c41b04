"""A NIXL agent in Python. Tells its metadata and memory, and does what it is told, a line of JSON each.

Usage: nixl_peer.py NAME BYTES
"""

import base64
import hashlib
import json
import sys
import time

import numpy
from nixl_cu12._api import nixl_agent, nixl_agent_config

name, size = sys.argv[1], int(sys.argv[2])
agent = nixl_agent(name, nixl_agent_config(backends=["UCX"]))
memory = numpy.zeros(size, dtype=numpy.uint8)
address = memory.ctypes.data
agent.register_memory([(address, size, 0, "")], "DRAM")
peer = None


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def transfer(operation, descriptor, notify):
    local = agent.get_xfer_descs([(address, size, 0)], "DRAM")
    remote = agent.get_xfer_descs([(int(descriptor["address"], 16), size, 0)], "DRAM")
    handle = agent.initialize_xfer(operation, local, remote, peer, notify.encode())
    state = agent.transfer(handle)
    while state == "PROC":
        state = agent.check_xfer_state(handle)
    agent.release_xfer_handle(handle)
    return state


tell(
    "ready",
    metadata=base64.b64encode(agent.get_agent_metadata()).decode(),
    descriptor={"agent": name, "address": hex(address), "bytes": size, "memory": "DRAM", "device": 0},
)
for line in sys.stdin:
    command = json.loads(line)
    what = command["do"]
    if what == "connect":
        peer = agent.add_remote_agent(base64.b64decode(command["metadata"]))
        peer = peer.decode() if isinstance(peer, bytes) else peer
        tell(what, name=peer)
    elif what == "fill":
        memory[:] = (numpy.arange(size, dtype=numpy.uint64) * command["seed"] % 251).astype(numpy.uint8)
        tell(what)
    elif what == "hash":
        tell(what, hash=hashlib.sha256(memory.tobytes()).hexdigest())
    elif what in ("read", "write"):
        tell(what, state=transfer(what.upper(), command["descriptor"], command.get("notify", "")))
    elif what == "notify":
        agent.send_notif(peer, command["text"].encode())
        tell(what)
    elif what == "receive":
        received = {}
        deadline = time.monotonic() + 10
        while not received and time.monotonic() < deadline:
            received = agent.get_new_notifs()
        texts = {sender: [message.decode() for message in messages] for sender, messages in received.items()}
        tell(what, messages=texts)
