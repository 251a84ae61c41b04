#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo-runtime 1.6.1), a client in Python.
#
# Endpoint.client(router_mode=...) takes the mode of a client, with round robin as its default. Client.generate, the call
# that names no mode of its own, does not follow it: it chooses a worker at random. Client.round_robin does alternate.
#
# Expected: generate of a client with RouterMode.RoundRobin alternates between two workers.
# Seen: of 60 calls, round_robin changes the worker 59 times, generate about 30 times.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
workers=()
stop() { for pid in "${workers[@]}"; do kill -9 "$pid" && wait "$pid" || true; done 2> /dev/null; }
trap 'stop; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-dynamo-runtime==1.6.1 uvloop==0.23.0 pydantic==2.12.5

cat > "$folder/worker.py" <<'PY'
import asyncio, os
from dynamo.runtime import DistributedRuntime

async def who(request, context):
    yield os.getpid()

async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    await runtime.endpoint("finding.worker.who").serve_endpoint(who)

asyncio.run(main())
PY

cat > "$folder/client.py" <<'PY'
import asyncio, os
from dynamo.llm import RouterMode
from dynamo.runtime import DistributedRuntime

CALLS = 60

async def changes(call):
    pids = [[item.data() async for item in await call("who?")][0] for _ in range(CALLS)]
    assert len(set(pids)) == 2, pids
    return sum(one != other for one, other in zip(pids, pids[1:]))

async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    client = await runtime.endpoint("finding.worker.who").client(router_mode=RouterMode.RoundRobin)
    while len(await client.wait_for_instances()) < 2:
        await asyncio.sleep(0.2)
    round_robin, generate = await changes(client.round_robin), await changes(client.generate)
    print(f"changes of the worker in {CALLS} calls: round_robin {round_robin}, generate {generate}", flush=True)
    os._exit(0 if round_robin >= CALLS - 2 and generate < CALLS - 10 else 1)

asyncio.run(main())
PY

export DYN_FILE_KV="$folder/discovery" DYN_TCP_RPC_HOST=127.0.0.1 DYN_LOG=off
for name in first second; do
  "$folder/venv/bin/python" "$folder/worker.py" > "$folder/$name.log" 2>&1 &
  workers+=($!)
done
"$folder/venv/bin/pip" list 2>/dev/null | grep ai-dynamo-runtime
status=0
timeout 120 "$folder/venv/bin/python" "$folder/client.py" 2> "$folder/client.log" || status=$?
[ "$status" -eq 0 ] || { tail -n 3 "$folder"/*.log; echo 'changed: expected round_robin to alternate, and generate not to'; }
exit "$status"
