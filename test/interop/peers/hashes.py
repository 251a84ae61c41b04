"""Hashes of blocks by the wheel, for lines of JSON: {tokens, block_size, lora_name, salt}."""

import json
import sys

from dynamo._core import compute_block_hash_for_seq

print(json.dumps({"event": "ready"}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    identity = {"lora_name": asked.get("lora_name"), "cache_namespace": asked.get("salt")}
    hashes = compute_block_hash_for_seq(asked["tokens"], asked["block_size"], **identity)
    print(json.dumps({"event": "hashes", "hashes": [str(one) for one in hashes]}), flush=True)
