#!/usr/bin/env bash
# NIXL 1.5.1 (nixl-cu12 1.5.1), backend UCX over TCP, Python.
#
# A write with a notification tells the target that its bytes have arrived. The notification leaves only when the
# initiator asks for the state of the transfer, although its progress thread runs (the default) and has finished the
# bytes. An initiator that posts and goes on with other work leaves its target waiting.
#
# Expected: the target gets the notification soon after the bytes.
# Seen: all bytes are there, no notification 3 s later; it is there at once when the initiator asks for the state.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What the package needs for tensors of PyTorch is left out.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nixl-cu12==1.5.1 numpy==2.3.5

cat > "$folder/notify.py" <<'PY'
import ctypes, os, subprocess, sys, time
from nixl_cu12._api import nixl_agent, nixl_agent_config

SIZE, STEP = 64 << 20, 4096
role = sys.argv[1]
agent = nixl_agent(role, nixl_agent_config(backends=["UCX"]))
memory = ctypes.create_string_buffer(b"\1" * SIZE if role == "initiator" else SIZE, SIZE)
place = (ctypes.addressof(memory), SIZE, 0)
agent.register_memory(agent.get_reg_descs([(*place, "")], "DRAM"))

if role == "target":
    print("answer", place[0], agent.get_agent_metadata().hex(), flush=True)
    messages = []
    for line in sys.stdin:
        for new in agent.get_new_notifs().values():
            messages += new
        arrived = memory.raw[::STEP].count(1)
        print("answer", arrived == SIZE // STEP, len(messages), flush=True)
    sys.exit()

target = subprocess.Popen([sys.executable, __file__, "target"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def answer():
    while (words := target.stdout.readline().split())[:1] != ["answer"]:
        assert words, "the target has ended"
    return words[1:]

def ask():
    """Whether all bytes have arrived, and the number of notifications."""
    print("?", file=target.stdin, flush=True)
    arrived, messages = answer()
    return arrived == "True", int(messages)

def until(done):
    deadline = time.monotonic() + 30
    while not done(state := ask()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return state

address, metadata = answer()
peer = agent.add_remote_agent(bytes.fromhex(metadata))
mine, theirs = agent.get_xfer_descs([place], "DRAM"), agent.get_xfer_descs([(int(address), SIZE, 0)], "DRAM")
transfer = agent.initialize_xfer("WRITE", mine, theirs, peer, b"written")
posted = agent.transfer(transfer)
until(lambda state: state[0])
time.sleep(3)
before = ask()
state = agent.check_xfer_state(transfer)
after = until(lambda state: state[1] > 0)
print(f"posted: {posted}; bytes there, notifications: {before}; state: {state}; then: {after}", flush=True)
target.kill()
os._exit(0 if (posted, before, state, after) == ("PROC", (True, 0), "DONE", (True, 1)) else 1)
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep nixl-cu12
status=0
UCX_TLS=tcp timeout 120 "$folder/venv/bin/python" "$folder/notify.py" initiator > "$folder/out" 2> "$folder/log" || status=$?
tail -1 "$folder/out"
[ "$status" -eq 0 ] || { tail -3 "$folder/log"; echo 'changed: expected no notification before the state is asked for'; }
exit "$status"
