#!/usr/bin/env bash
# NIXL 1.5.1 (nixl-cu12 1.5.1), C API, UCX backend.
#
# An agent can describe some of its registered regions by nixl_capi_get_local_partial_md. A peer that does not know the
# agent yet cannot load the result: nixl_capi_load_remote_md returns "not found". The result lacks the agent's
# connection information, and the C API cannot ask for it; the C++ and Python APIs can (includeConnInfo,
# inc_conn_info).
# The result for an empty list has the connection information alone. A peer that loads that first can load the other.
#
# Expected: the C API can make partial metadata that a new peer can load, as the others can.
# Seen: -6 (not found) for a list of one region; 0 after the result for an empty list was loaded.
# Exits with 0 while this holds, and with 1 if it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nixl-cu12==1.5.1

cat > "$folder/partial.py" <<'PY'
import ctypes, glob, os, sysconfig

site = sysconfig.get_path("purelib")
[libraries] = glob.glob(f"{site}/.nixl_cu12.mesonpy.libs")
os.environ.setdefault("NIXL_PLUGIN_DIR", f"{libraries}/plugins")
capi = ctypes.CDLL(f"{libraries}/libnixl_capi.so")
DRAM, NOT_FOUND = 0, -6
pointer, size = ctypes.c_void_p, ctypes.c_size_t

def call(name, *args):
    return getattr(capi, f"nixl_capi_{name}")(*args)

def new(name, *args):
    made = pointer()
    status = call(name, *args, ctypes.byref(made))
    assert status == 0, f"{name}: {status}"
    return made

def agent(name):
    made = new("create_agent", name)
    params = new("create_params")
    new("create_backend", made, b"UCX", params)
    return made

def partial(owner, regions):
    data, length = pointer(), size()
    status = call("get_local_partial_md", owner, regions, ctypes.byref(data), ctypes.byref(length), None)
    assert status == 0, f"get_local_partial_md: {status}"
    return data, length

def load(reader, blob):
    name = ctypes.c_char_p()
    return call("load_remote_md", reader, *blob, ctypes.byref(name))

owner, reader = agent(b"owner"), agent(b"reader")
memory = ctypes.create_string_buffer(1 << 16)
region = new("create_reg_dlist", DRAM)
place = size(ctypes.addressof(memory)), size(len(memory)), ctypes.c_uint64(0)
assert call("reg_dlist_add_desc", region, *place, None, size(0)) == 0
assert call("register_mem", owner, region, new("create_opt_args")) == 0

regions, connection = partial(owner, region), partial(owner, new("create_reg_dlist", DRAM))
alone = load(reader, regions)
first = load(reader, connection)
then = load(reader, regions)
print(f"regions alone: {alone}; connection: {first}; regions after it: {then}", flush=True)
os._exit(0 if (alone, first, then) == (NOT_FOUND, 0, 0) else 1)
PY

"$folder/venv/bin/pip" list 2>/dev/null | grep nixl-cu12
status=0
timeout 120 "$folder/venv/bin/python" "$folder/partial.py" 2> "$folder/partial.log" || status=$?
[ "$status" -eq 0 ] || { tail -5 "$folder/partial.log"; echo 'changed: expected -6, 0 and 0'; }
exit "$status"
