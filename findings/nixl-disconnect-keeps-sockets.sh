#!/usr/bin/env bash
# NIXL 1.5.1 (nixl-cu12 1.5.1), backend UCX, Python.
#
# remove_remote_agent disconnects two agents, as its documentation says. Each end keeps a socket or two of each
# connection that has ended, as long as its agent lives. A router or a decode worker whose peers come and go reaches its
# limit of open files.
#
# Expected: after 40 connections to a peer, one at a time, as many sockets as after 10.
# Seen: one more socket for each connection, at both ends.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What the package needs for tensors of PyTorch is left out.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nixl-cu12==1.5.1 numpy==2.3.5

cat > "$folder/sockets.py" <<'PY'
import os, subprocess, sys, time
from nixl_cu12._api import nixl_agent, nixl_agent_config

role = sys.argv[1]
agent = nixl_agent(role, nixl_agent_config(backends=["UCX"]))

if role == "peer":
    print("answer", agent.get_agent_metadata().hex(), flush=True)
    sys.stdin.read()
    os._exit(0)

process = subprocess.Popen([sys.executable, __file__, "peer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
while (words := process.stdout.readline().split())[:1] != ["answer"]:
    assert words, "the peer has ended"
metadata = bytes.fromhex(words[1])

def sockets(pid):
    count = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            count += os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
        except FileNotFoundError:
            pass
    return count

def after(connections):
    """The sockets here and at the peer, 5 s after these connections have ended."""
    for _ in range(connections):
        name = agent.add_remote_agent(metadata)
        agent.send_notif(name, b"hello")
        agent.remove_remote_agent(name)
    time.sleep(5)
    return sockets(os.getpid()), sockets(process.pid)

few, many = after(10), after(30)
print(f"sockets here and at the peer: {few} after 10 connections, {many} after 40", flush=True)
process.kill()
os._exit(0 if all(more >= less + 25 for less, more in zip(few, many)) else 1)
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep nixl-cu12
status=0
timeout 120 "$folder/venv/bin/python" "$folder/sockets.py" agent > "$folder/out" 2> "$folder/log" || status=$?
tail -1 "$folder/out"
[ "$status" -eq 0 ] || { tail -3 "$folder/log"; echo 'changed: expected at least 25 sockets more after 30 connections more'; }
exit "$status"
