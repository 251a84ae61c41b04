#!/usr/bin/env bash
# UCX 1.23 in NIXL 1.5.1 (nixl-cu12 1.5.1), in a PID namespace without a /proc of its own.
#
# UCX reads the start time of its process from /proc/PID/stat, by the id that the process has in its namespace. In a
# namespace that still sees the /proc of its parent (`unshare --pid`, or a container that mounts its host's) that id
# belongs to another process, or to none. If to none, an agent cannot be made, and only UCX_LOG_LEVEL=diag says why.
#
# Expected: the backend UCX is made, as it is if the namespace has its own /proc (`unshare --pid --mount-proc`).
# Seen: "failed to get start time for pid", and nixlBackendError.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What the package needs for tensors of PyTorch is left out.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nixl-cu12==1.5.1 numpy==2.3.5

cat > "$folder/agent.py" <<'PY'
import os
from nixl_cu12._api import nixl_agent, nixl_agent_config

try:
    agent = nixl_agent("finding", nixl_agent_config(backends=["UCX"]))
    print("made", flush=True)
except Exception as error:
    print(f"failed: {type(error).__name__}", flush=True)
os._exit(0)
PY

# The first ids of a namespace are small. Processes are started until one has an id that /proc does not have.
cat > "$folder/without-id.py" <<'PY'
import os, sys

TAKEN = 77
while True:
    pid = os.fork()
    if pid == 0:
        if os.path.exists(f"/proc/{os.getpid()}"):
            os._exit(TAKEN)
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != TAKEN:
        sys.exit(status)
PY

root=()
[ "$(id -u)" = 0 ] || root=(--user --map-root-user)
# inside COMMAND...: what a command says of the agent in a new namespace, after flags of unshare.
inside() {
  UCX_LOG_LEVEL=diag timeout 120 unshare "${root[@]}" --pid --fork --kill-child "$@" > "$folder/log" 2>&1 || true
  grep -xE 'made|failed: .*' "$folder/log" || true
}

"$folder/venv/bin/pip" list 2>/dev/null | grep nixl-cu12
own=$(inside --mount-proc "$folder/venv/bin/python" "$folder/agent.py")
outer=$(inside "$folder/venv/bin/python" "$folder/without-id.py" "$folder/agent.py")
reason=$(grep -om1 'failed to get start time for pid' "$folder/log" || true)
echo "with a /proc of the namespace: $own; with that of its parent: $outer ($reason)"
[ "$own; $outer; $reason" = 'made; failed: nixlBackendError; failed to get start time for pid' ] || {
  tail -n 5 "$folder/log"
  echo 'changed: expected a failure with the /proc of the parent'
  exit 1
}
