#!/usr/bin/env bash
# UCX 1.23 in NIXL 1.5.1 (nixl-cu12 1.5.1), Python.
#
# SIGHUP ends a process that has no handler for it: that is how a worker ends whose terminal or session goes away. A
# process that has made the backend UCX lives on. UCX takes SIGHUP as the signal by which it prints its state
# (UCX_DEBUG_SIGNO), and installs a handler in every process. Importing NIXL, or an agent without UCX, does not.
#
# Expected: SIGHUP ends the process, with and without the backend.
# Seen: it ends one without the backend, and not one with it. UCX_DEBUG_SIGNO=0 restores the default.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What the package needs for tensors of PyTorch is left out.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nixl-cu12==1.5.1 numpy==2.3.5

cat > "$folder/hang-up.py" <<'PY'
import os, signal, subprocess, sys

AGENT = """
import sys
from nixl_cu12._api import nixl_agent, nixl_agent_config
agent = nixl_agent("finding", nixl_agent_config(backends=sys.argv[1:]))
print("ready", flush=True)
sys.stdin.read()
"""

def after_hang_up(backends, **variables):
    process = subprocess.Popen([sys.executable, "-c", AGENT, *backends], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, env={**os.environ, **variables})
    while (line := process.stdout.readline()) != "ready\n":
        assert line, "the agent was not made"
    process.send_signal(signal.SIGHUP)
    try:
        return f"ended by {-process.wait(10)}"
    except subprocess.TimeoutExpired:
        return "lives"
    finally:
        process.kill()

results = after_hang_up([]), after_hang_up(["UCX"]), after_hang_up(["UCX"], UCX_DEBUG_SIGNO="0")
print("without UCX: {}; with UCX: {}; with UCX_DEBUG_SIGNO=0: {}".format(*results), flush=True)
sys.exit(0 if results == ("ended by 1", "lives", "ended by 1") else 1)
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep nixl-cu12
status=0
timeout 120 "$folder/venv/bin/python" "$folder/hang-up.py" 2> "$folder/hang-up.log" || status=$?
[ "$status" -eq 0 ] || { tail -5 "$folder/hang-up.log"; echo 'changed: expected UCX alone to keep the process'; }
exit "$status"
