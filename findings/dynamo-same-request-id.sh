#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo-runtime 1.6.1), request plane over TCP.
#
# Two requests with the same request id that reach one worker at the same time: at least one fails before its answer
# begins. A handler that calls another endpoint twice at once, with its own context as is usual, sends such requests.
# The worker keeps the requests that it starts in a map by their id, so that the second replaces the first. The caller
# then also takes the worker out of its rotation for some seconds.
#
# Expected: both are answered, as two requests with ids of their own are.
# Seen: 0 failures with different ids, failures in every round with the same id.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-dynamo-runtime==1.6.1 uvloop==0.23.0 pydantic==2.12.5

cat > "$folder/calls.py" <<'PY'
import asyncio, os
from dynamo._core import Context
from dynamo.runtime import DistributedRuntime

ROUNDS = 20

async def echo(request, context):
    yield request

async def call(client, value, id):
    try:
        stream = await client.round_robin(value, context=Context(id))
        return [item.data() async for item in stream] == [value]
    except Exception:
        return False

async def failures(runtime, name, ids):
    """A new endpoint for each round, because a failure takes the worker out of the rotation."""
    failed = 0
    for round in range(ROUNDS):
        endpoint = runtime.endpoint(f"finding.{name}{round}.echo")
        serving = asyncio.ensure_future(endpoint.serve_endpoint(echo))
        client = await endpoint.client()
        await client.wait_for_instances()
        results = await asyncio.gather(*(call(client, value, id) for value, id in enumerate(ids(round))))
        failed += not all(results)
        serving.cancel()
    return failed

async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "mem", "tcp")
    different = await failures(runtime, "different", lambda round: [f"a{round}", f"b{round}"])
    same = await failures(runtime, "same", lambda round: [f"c{round}", f"c{round}"])
    print(f"rounds with a failure, different ids: {different} of {ROUNDS}")
    print(f"rounds with a failure, the same id: {same} of {ROUNDS}", flush=True)
    os._exit(0 if different == 0 and same > 0 else 1)

asyncio.run(main())
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep ai-dynamo-runtime
status=0
DYN_TCP_RPC_HOST=127.0.0.1 DYN_LOG=off timeout 120 "$folder/venv/bin/python" "$folder/calls.py" 2> "$folder/calls.log" || status=$?
[ "$status" -eq 0 ] || echo 'changed: expected no failure with different ids, and some with the same id'
exit "$status"
