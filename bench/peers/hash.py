"""Hashes tokens with the wheel. The answer to {tokens, calls, block_size} is the time of all calls in seconds."""

import json
import sys
import time

from dynamo._core import compute_block_hash_for_seq

print(json.dumps({"bench": {"ready": True}}, separators=(",", ":")), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    tokens = list(range(command["tokens"]))
    begin = time.perf_counter()
    for _ in range(command["calls"]):
        compute_block_hash_for_seq(tokens, command["block_size"])
    print(json.dumps({"bench": {"seconds": time.perf_counter() - begin}}, separators=(",", ":")), flush=True)
