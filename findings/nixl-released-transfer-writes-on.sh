#!/usr/bin/env bash
# NIXL 1.5.1 (nixl-cu12 1.5.1), backend UCX over TCP, Python.
#
# release_xfer_handle of a transfer in flight returns without an error, and the transfer goes on to its last byte. Its
# documentation says that NIXL tries to cancel the transfer, and returns an error and keeps the handle if it cannot.
# After the release nothing tells when the bytes stop, so that memory which is used for something else then is
# overwritten, at the target of a write or at the reader of a read.
#
# Expected: an error, or no bytes after the release.
# Seen: no error, some pages at the target right after the release, all pages some seconds later.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What the package needs for tensors of PyTorch is left out.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nixl-cu12==1.5.1 numpy==2.3.5

cat > "$folder/release.py" <<'PY'
import ctypes, os, subprocess, sys, time
from nixl_cu12._api import nixl_agent, nixl_agent_config

SIZE, PAGE = 256 << 20, 4096
role = sys.argv[1]
agent = nixl_agent(role, nixl_agent_config(backends=["UCX"]))
memory = ctypes.create_string_buffer(SIZE)
place = (ctypes.addressof(memory), SIZE, 0)
if role == "initiator":
    ctypes.memset(memory, 1, SIZE)
agent.register_memory(agent.get_reg_descs([(*place, "")], "DRAM"))

if role == "target":
    print("answer", place[0], agent.get_agent_metadata().hex(), flush=True)
    view = memoryview(memory).cast("B")[::PAGE]
    for line in sys.stdin:
        print("answer", sum(view), flush=True)
    os._exit(0)

target = subprocess.Popen([sys.executable, __file__, "target"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def answer():
    while (words := target.stdout.readline().split())[:1] != ["answer"]:
        assert words, "the target has ended"
    return words[1:]

def written():
    """The pages of the target that have been written."""
    print("?", file=target.stdin, flush=True)
    return int(answer()[0])

address, metadata = answer()
peer = agent.add_remote_agent(bytes.fromhex(metadata))
mine, theirs = agent.get_xfer_descs([place], "DRAM"), agent.get_xfer_descs([(int(address), SIZE, 0)], "DRAM")
transfer = agent.initialize_xfer("WRITE", mine, theirs, peer)
posted = agent.transfer(transfer)
while not written():
    pass
agent.release_xfer_handle(transfer)
at_once = written()
deadline = time.monotonic() + 30
while (later := written()) < SIZE // PAGE and time.monotonic() < deadline:
    time.sleep(0.1)
print(f"posted: {posted}; of {SIZE // PAGE} pages: {at_once} after the release, {later} later", flush=True)
target.kill()
os._exit(0 if posted == "PROC" and 0 < at_once < later == SIZE // PAGE else 1)
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep nixl-cu12
status=0
UCX_TLS=tcp timeout 120 "$folder/venv/bin/python" "$folder/release.py" initiator > "$folder/out" 2> "$folder/log" || status=$?
tail -1 "$folder/out"
[ "$status" -eq 0 ] || { tail -3 "$folder/log"; echo 'changed: expected pages to arrive after the release'; }
exit "$status"
