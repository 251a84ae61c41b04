#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo-runtime 1.6.1), request plane over TCP.
#
# One call at a time takes about 1 ms. Of two calls at the same time the second takes over 40 ms, however small it is.
# Requests in flight at the same time share a connection, and the worker leaves Nagle's algorithm on: its
# acknowledgement of the second request waits until the caller's kernel acknowledges the first, which Linux delays by
# 40 ms. The caller does not read the answer before it has the acknowledgement.
#
# Expected: two calls at once take about as long as two calls one after the other.
# Seen: medians of 1.3 ms for one call, 45 ms for two at once, 44 ms for four, 47 ms for sixteen.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-dynamo-runtime==1.6.1 uvloop==0.23.0 pydantic==2.12.5

cat > "$folder/calls.py" <<'PY'
import asyncio, os, statistics, time
from dynamo.runtime import DistributedRuntime

async def echo(request, context):
    yield request

async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "mem", "tcp")
    endpoint = runtime.endpoint("finding.worker.echo")
    serving = asyncio.ensure_future(endpoint.serve_endpoint(echo))
    client = await endpoint.client()
    await client.wait_for_instances()

    async def call():
        return [item.data() async for item in await client.round_robin("x")]

    async def milliseconds(calls):
        begin = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(calls)))
        return (time.perf_counter() - begin) * 1000

    async def median(calls):
        return statistics.median([await milliseconds(calls) for _ in range(30)])

    await median(2)
    one, two = await median(1), await median(2)
    print(f"median of one call: {one:.1f} ms")
    print(f"median of two calls at once: {two:.1f} ms", flush=True)
    os._exit(0 if two > one + 30 else 1)

asyncio.run(main())
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep ai-dynamo-runtime
status=0
DYN_TCP_RPC_HOST=127.0.0.1 DYN_LOG=off timeout 120 "$folder/venv/bin/python" "$folder/calls.py" 2> "$folder/calls.log" || status=$?
[ "$status" -eq 0 ] || echo 'changed: expected two calls at once to take over 30 ms longer than one'
exit "$status"
