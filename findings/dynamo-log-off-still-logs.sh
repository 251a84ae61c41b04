#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo-runtime 1.6.1), logs.
#
# Each call writes a line of level INFO to the error output, whatever DYN_LOG says: error, off, or a level for the target
# of these lines, request_span. The filter gets the directive request_span=trace after those of DYN_LOG, and so replaces
# what they say about it. A comment in the source says that DYN_LOG=request_span=LEVEL overrides it. A router with 1000
# requests a second writes over 400 KB of log a second with logging turned off.
#
# Expected: no line with DYN_LOG=off, nor with DYN_LOG=off,request_span=off.
# Seen: 20 lines for 20 calls with each of them, as with DYN_LOG=info.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-dynamo-runtime==1.6.1 uvloop==0.23.0 pydantic==2.12.5

cat > "$folder/calls.py" <<'PY'
import asyncio, os
from dynamo.runtime import DistributedRuntime

async def echo(request, context):
    yield request

async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "mem", "tcp")
    endpoint = runtime.endpoint("finding.worker.echo")
    serving = asyncio.ensure_future(endpoint.serve_endpoint(echo))
    client = await endpoint.client()
    await client.wait_for_instances()
    answers = [item.data() for value in range(20) async for item in await client.round_robin(value)]
    assert answers == list(range(20)), answers
    os._exit(0)

asyncio.run(main())
PY

# lines LEVEL: the lines about calls in the log of 20 calls.
lines() {
  DYN_LOG=$1 DYN_TCP_RPC_HOST=127.0.0.1 timeout 120 "$folder/venv/bin/python" "$folder/calls.py" > "$folder/log" 2>&1
  grep -c 'route request completed' "$folder/log" || true
}

"$folder/venv/bin/pip" list 2>/dev/null | grep ai-dynamo-runtime
off=$(lines off)
target=$(lines off,request_span=off)
echo "lines of 20 calls with DYN_LOG=off: $off; with DYN_LOG=off,request_span=off: $target"
[ "$off $target" = "20 20" ] || { echo 'changed: expected 20 lines with each'; exit 1; }
