"""Hashes as many tokens as asked by the wheel: {tokens, calls, block_size} gives the seconds that all calls took."""

import json
import sys
import time

from dynamo._core import compute_block_hash_for_seq

print(json.dumps({"bench": {"ready": True}}, separators=(",", ":")), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    tokens = list(range(asked["tokens"]))
    begin = time.perf_counter()
    for _ in range(asked["calls"]):
        compute_block_hash_for_seq(tokens, asked["block_size"])
    print(json.dumps({"bench": {"seconds": time.perf_counter() - begin}}, separators=(",", ":")), flush=True)
