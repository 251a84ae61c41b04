"""Calls endpoints that TypeScript serves, as the test commands, and tells what came."""

import asyncio

from dynamo.runtime import Context, DistributedRuntime, UnaryClient
from lines import FIXTURE, commands, describe, emit, finish

clients = {}


async def client_of(runtime, path):
    if path not in clients:
        clients[path] = await runtime.endpoint(path).client()
        await clients[path].wait_for_instances()
    return clients[path]


def envelope(item):
    fields = {"event": item.event(), "comments": item.comments(), "id": item.id(), "data": item.data()}
    return describe({name: value for name, value in fields.items() if value not in (None, [])})


async def call(runtime, command):
    client = await client_of(runtime, command["path"])
    request = FIXTURE if command.get("fixture") else command.get("request")
    context = Context(command["id"], command.get("metadata", {})) if "id" in command else Context()
    annotated = command.get("annotated", False)
    items = []
    try:
        stream = await client.round_robin(request, annotated=annotated, context=context)
        async for item in stream:
            items.append(envelope(item) if annotated else describe(item))
            if len(items) == command.get("tell_after"):
                emit("told")
            if len(items) == command.get("stop_after"):
                context.stop_generating()
            if len(items) == command.get("leave_after"):
                break
        del stream
        emit("answer", items=items)
    except Exception as error:
        emit("error", items=items, type=type(error).__name__, text=str(error))


async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    emit("ready")
    tasks = set()
    async for command in commands():
        if command["do"] == "call":
            task = asyncio.ensure_future(call(runtime, command))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        elif command["do"] == "unary":
            client = UnaryClient(await client_of(runtime, command["path"]))
            emit("answer", items=[describe(await client.complete(command["request"]))])
        elif command["do"] == "instances":
            client = await client_of(runtime, command["path"])
            emit("instances", ids=[str(one) for one in client.instance_ids()])
    finish()


asyncio.run(main())
