#!/usr/bin/env bash
# NIXL 1.5.1 (nixl-cu12 1.5.1), backend UCX over TCP with its progress thread, Python.
#
# get_xfer_telemetry has the duration of a transfer. It is measured to the call of check_xfer_state that sees the end,
# not to the end. A program that looks once in each step of its engine adds the rest of the step to each duration, so
# that a bandwidth computed from it says how long a step is. Its startTime counts from the start of the machine, though
# the Rust binding nixl-sys says that it counts from the Unix epoch.
#
# Expected: 1 MiB whose last byte is there before the program pauses for a second took less than that second.
# Seen: it took more than a second, in which the reader already had every byte. Without the pause: some milliseconds.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What the package needs for tensors of PyTorch is left out.
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps nixl-cu12==1.5.1 numpy==2.3.5

cat > "$folder/telemetry.py" <<'PY'
import ctypes, time
from nixl_cu12._api import nixl_agent, nixl_agent_config

SIZE, PAUSE = 1 << 20, 1.0

def agent_with_memory(name, value):
    agent = nixl_agent(name, nixl_agent_config(backends=["UCX"], capture_telemetry=True))
    memory = ctypes.create_string_buffer(bytes([value]) * SIZE, SIZE)
    place = (ctypes.addressof(memory), SIZE, 0)
    agent.register_memory(agent.get_reg_descs([(*place, "")], "DRAM"))
    return agent, memory, agent.get_xfer_descs([place], "DRAM")

reader, here, to = agent_with_memory("reader", 0)
source, there, what = agent_with_memory("source", 1)
peer = reader.add_remote_agent(source.get_agent_metadata())

def read(pause):
    """The seconds until the last byte was seen, and those of the telemetry, of one read."""
    ctypes.memset(here, 0, SIZE)
    handle = reader.initialize_xfer("READ", to, what, peer)
    begin = time.monotonic()
    state = reader.transfer(handle)
    # The progress thread moves the bytes. Nothing is asked of NIXL here.
    while here.raw.count(b"\1") < SIZE and time.monotonic() < begin + 10:
        time.sleep(0.001)
    arrived = time.monotonic() - begin
    time.sleep(pause)
    while state == "PROC":
        state = reader.check_xfer_state(handle)
    telemetry = reader.get_xfer_telemetry(handle)
    reader.release_xfer_handle(handle)
    # The clock of `begin` starts with the machine. The epoch is decades before it.
    since_boot = abs(telemetry.startTime / 1e6 - begin) < 60
    return arrived, telemetry.xferDuration / 1e6, since_boot

read(0)  # connects
quick, slow = read(0), read(PAUSE)
for name, (arrived, measured, since_boot) in (("at once", quick), ("after a second", slow)):
    clock = "the start of the machine" if since_boot else "something else"
    print(f"asked {name}: bytes there after {arrived:.3f} s, telemetry {measured:.3f} s, startTime since {clock}")
holds = quick[1] < PAUSE / 2 and slow[0] < PAUSE / 2 and slow[1] >= PAUSE and quick[2] and slow[2]
print("the duration ends when it is asked for" if holds else "changed: the duration ends with the transfer")
raise SystemExit(0 if holds else 1)
PY
UCX_TLS=tcp timeout 60 "$folder/venv/bin/python" "$folder/telemetry.py" 2> "$folder/errors" || {
  cat "$folder/errors" >&2
  exit 1
}
