#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo-runtime 1.6.1), request plane over TCP.
#
# A caller stops a request with Context.stop_generating. The worker learns of it, ends its work, and yields a last item,
# such as the number of tokens and the reason of the end. The caller never gets it: its stream ends without an error
# when it stops, and what the handler yields later is dropped. The source says of a stop that the caller can decide to
# drain the stream, and that only a kill prefers not to.
#
# Expected: the caller gets "first" and "last", with and without a stop.
# Seen: "first" and "last" without a stop, "first" alone with one, although the handler has yielded both.
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

seen = []

async def count(request, context):
    yield "first"
    while request == "stop" and not context.is_stopped():
        await asyncio.sleep(0.01)
    seen.append(f"stopped={context.is_stopped()} killed={context.is_killed()}")
    yield "last"

async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "mem", "tcp")
    endpoint = runtime.endpoint("finding.worker.count")
    serving = asyncio.ensure_future(endpoint.serve_endpoint(count))
    client = await endpoint.client()
    await client.wait_for_instances()

    async def call(request):
        context, items = Context(request), []
        async for item in await client.round_robin(request, context=context):
            items.append(item.data())
            if request == "stop":
                context.stop_generating()
        return items

    whole, stopped = await call("go on"), await call("stop")
    while len(seen) < 2:
        await asyncio.sleep(0.01)
    print(f"without a stop: {whole}; with a stop: {stopped}; the handler: {seen}", flush=True)
    same = whole == ["first", "last"] and stopped == ["first"]
    os._exit(0 if same and seen[1] == "stopped=True killed=False" else 1)

asyncio.run(main())
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep ai-dynamo-runtime
status=0
DYN_TCP_RPC_HOST=127.0.0.1 DYN_LOG=off timeout 120 "$folder/venv/bin/python" "$folder/calls.py" 2> "$folder/calls.log" || status=$?
[ "$status" -eq 0 ] || { tail -3 "$folder/calls.log"; echo 'changed: expected both items without a stop, and one with it'; }
exit "$status"
