#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo-runtime 1.6.1), the prefix tree of KV-aware routing (RadixTree).
#
# An engine has four blocks of a prompt, evicts the second and stores it again. Its events say just that. The tree drops
# the third and the fourth with the second, and does not take them back: the worker has four blocks and counts with two
# until the end. When the engine evicts the fourth, the tree reports an unknown block. Engines that evict the last block
# of a prompt first never send such events.
#
# Expected: the worker counts with 4 blocks, then 1, then 4 again.
# Seen: 4, 1, 2, then an error for the removal of the fourth block. An event that stores the second to the fourth block
# again, though the worker never lost two of them, makes it 4.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-dynamo-runtime==1.6.1 uvloop==0.23.0 pydantic==2.12.5

cat > "$folder/tree.py" <<'PY'
import json
from dynamo._core import RadixTree, compute_block_hash_for_seq

WORKER, NAMES = 7, [101, 102, 103, 104]
CONTENT = compute_block_hash_for_seq(list(range(1, 65)), 16)

tree = RadixTree()
events = 0

def apply(data):
    """Returns whether the tree accepted the event."""
    global events
    events += 1
    try:
        tree.apply_event(WORKER, json.dumps({"event_id": events, "data": data, "dp_rank": 0}).encode())
        return True
    except Exception as error:
        print(f"refused: {error}")
        return False

def stored(first, last, parent=None):
    blocks = [{"block_hash": NAMES[at], "tokens_hash": CONTENT[at]} for at in range(first, last)]
    return apply({"stored": {"parent_hash": parent, "start_position": None, "blocks": blocks}})

def removed(at):
    return apply({"removed": {"block_hashes": [NAMES[at]]}})

def count():
    return sum(tree.find_matches(CONTENT).scores.values())

accepted = [stored(0, 4)]
counts = [count()]
accepted.append(removed(1))
counts.append(count())
accepted.append(stored(1, 2, NAMES[0]))
counts.append(count())
accepted.append(removed(3))
accepted.append(stored(1, 4, NAMES[0]))
counts.append(count())
print(f"blocks of the worker in the tree: {counts}")
print(f"events accepted: {accepted}")
raise SystemExit(0 if counts == [4, 1, 2, 4] and accepted == [True, True, True, False, True] else 1)
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep ai-dynamo-runtime
"$folder/venv/bin/python" "$folder/tree.py"
