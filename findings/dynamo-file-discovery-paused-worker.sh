#!/usr/bin/env bash
# Dynamo 1.6.1 (ai-dynamo-runtime 1.6.1), file discovery.
#
# A worker process that is stopped for longer than its 10 s lease (a suspended laptop, a paused container) and then
# continues stays lost: it runs and listens, but no client sees it again. A file of discovery that was removed is never
# written again, and the worker reports nothing.
#
# Expected: the worker registers again, or its process learns that its lease has ended.
# Seen: the client sees 1 instance, then 0 while the worker is stopped, and still 0 long after it continues.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
worker=
trap 'if [ -n "$worker" ]; then kill -9 "$worker" 2>/dev/null || true; fi; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ai-dynamo-runtime==1.6.1 uvloop==0.23.0 pydantic==2.12.5

cat > "$folder/worker.py" <<'PY'
import asyncio
from dynamo.runtime import DistributedRuntime

async def echo(request, context):
    yield request

async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    await runtime.endpoint("finding.worker.echo").serve_endpoint(echo)

asyncio.run(main())
PY

cat > "$folder/client.py" <<'PY'
import asyncio, os, signal, sys, time
from dynamo.runtime import DistributedRuntime

async def count_becomes(client, wanted, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(client.instance_ids()) == wanted:
            return True
        await asyncio.sleep(0.2)
    return False

async def main():
    pid = int(sys.argv[1])
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    client = await runtime.endpoint("finding.worker.echo").client()
    print("seen at first:", await count_becomes(client, 1, 60))
    os.kill(pid, signal.SIGSTOP)
    print("gone while stopped:", await count_becomes(client, 0, 60))
    os.kill(pid, signal.SIGCONT)
    print("back within 45 s of continuing:", await count_becomes(client, 1, 45))
    with open(f"/proc/{pid}/stat") as stat:
        print("the worker runs:", stat.read().rsplit(")", 1)[1].split()[0] in "SR")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
PY

export DYN_FILE_KV="$folder/discovery" DYN_TCP_RPC_HOST=127.0.0.1 DYN_LOG=off PYTHONUNBUFFERED=1
"$folder/venv/bin/python" "$folder/worker.py" > "$folder/worker.log" 2>&1 &
worker=$!
"$folder/venv/bin/python" "$folder/client.py" "$worker" > "$folder/client.log" 2>/dev/null || true
"$folder/venv/bin/pip" list 2>/dev/null | grep ai-dynamo-runtime
cat "$folder/client.log"
for line in 'seen at first: True' 'gone while stopped: True' 'back within 45 s of continuing: False' 'the worker runs: True'; do
  grep -qx "$line" "$folder/client.log" || { echo "changed: expected '$line'"; tail -5 "$folder/worker.log"; exit 1; }
done
