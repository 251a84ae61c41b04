"""The NIXL agent of the Python wheel: nixl.py NAME. It has the same commands as nixl.mjs."""

import itertools
import json
import os
import sys
import time

import numpy
from nixl_cu12._api import nixl_agent, nixl_agent_config

agent = nixl_agent(sys.argv[1], nixl_agent_config(backends=["UCX"]))
places = {}


def filled(size):
    memory = numpy.empty(size, dtype=numpy.uint8)
    memory[:] = 7
    return memory


def added(metadata):
    name = agent.add_remote_agent(metadata)
    return name.decode() if isinstance(name, bytes) else name


def connect(asked):
    global local, here, other
    size = asked["bytes"]
    local, here = filled(size), filled(size)
    agent.register_memory([(local.ctypes.data, size, 0, "")], "DRAM")
    other = nixl_agent(sys.argv[1] + "-target", nixl_agent_config(backends=["UCX"]))
    other.register_memory([(here.ctypes.data, size, 0, "")], "DRAM")
    places["one"] = (added(other.get_agent_metadata()), here.ctypes.data)
    places["two"] = (added(bytes.fromhex(asked["metadata"])), asked["address"])


def wait(handle, state):
    while state == "PROC":
        state = agent.check_xfer_state(handle)
    if state != "DONE":
        raise RuntimeError(state)


def run(handle):
    wait(handle, agent.transfer(handle))


def request(place, size):
    name, address = places[place]
    mine = agent.get_xfer_descs([(local.ctypes.data, size, 0)], "DRAM")
    theirs = agent.get_xfer_descs([(address, size, 0)], "DRAM")
    return agent.initialize_xfer("WRITE", mine, theirs, name)


def posts(asked):
    """Each call waits for the call `window` calls before it."""
    handles = [request(asked["place"], asked["bytes"]) for _ in range(asked["window"])]
    if len(handles) == 1:
        return lambda: run(handles[0])
    states = ["DONE"] * len(handles)
    turns = itertools.cycle(range(len(handles)))

    def once():
        index = next(turns)
        wait(handles[index], states[index])
        states[index] = agent.transfer(handles[index])

    return once


def creates(asked):
    def once():
        handle = request(asked["place"], asked["bytes"])
        run(handle)
        agent.release_xfer_handle(handle)

    return once


def scattered(count, shift):
    return numpy.array([(index * 101 + shift * 37) % count for index in range(count)], dtype=numpy.int32)


def blocks(asked):
    name, address = places[asked["place"]]
    count, size = asked["count"], asked["bytes"]
    runs = lambda start: [(start + index * size, size, 0) for index in range(count)]
    mine = agent.prep_xfer_dlist("", runs(local.ctypes.data), "DRAM")
    theirs = agent.prep_xfer_dlist(name, runs(address), "DRAM")
    sources, targets = scattered(count, 0), scattered(count, 1)

    def once():
        handle = agent.make_prepped_xfer("WRITE", mine, sources, theirs, targets)
        run(handle)
        agent.release_xfer_handle(handle)

    return once


def register(asked):
    count, size = asked["count"], asked["bytes"]
    memory = filled(count * size)
    runs = [(memory.ctypes.data + index * size, size, 0, "") for index in range(count)]
    begin = time.perf_counter_ns()
    registered = agent.register_memory(runs, "DRAM")
    took = time.perf_counter_ns() - begin
    agent.deregister_memory(registered)
    return {"meanNs": took, "p50Ns": took}


def repeat(ms, least, work):
    took = []
    before = time.perf_counter_ns()
    end = before + ms * 1e6
    while before < end or len(took) < least:
        work()
        after = time.perf_counter_ns()
        took.append(after - before)
        before = after
    return took


def measured(ms, work):
    repeat(ms / 4, 1, work)
    took = repeat(ms, 2, work)
    return {"meanNs": sum(took) / len(took), "p50Ns": sorted(took)[len(took) // 2]}


def answer(asked):
    verb = asked["verb"]
    if verb == "connect":
        connect(asked)
        return {}
    if verb == "register":
        return register(asked)
    return measured(asked["ms"], {"post": posts, "create": creates, "blocks": blocks}[verb](asked))


def tell(said):
    print(json.dumps({"bench": said}, separators=(",", ":")), flush=True)


tell({"ready": True})
for line in sys.stdin:
    try:
        tell(answer(json.loads(line)))
    except Exception as error:
        tell({"error": repr(error)})
# Skips the library's teardown, which may wait.
os._exit(0)
