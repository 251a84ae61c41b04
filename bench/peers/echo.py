"""echo.py serve NAMESPACE | echo.py call NAMESPACE"""

import asyncio
import sys

import uvloop
from dynamo.runtime import DistributedRuntime
from load import answer_commands, expect_same, measure, report, text_of


async def echo(request, context):
    yield {"text": request["text"]}


async def items(request, context):
    text = text_of(request["bytes"])
    for _ in range(request["count"]):
        yield {"text": text}


async def serve(endpoints):
    handlers = [echo, items]
    serving = [asyncio.ensure_future(one.serve_endpoint(handler)) for one, handler in zip(endpoints, handlers)]
    report({"ready": True})
    await answer_commands(lambda command: asyncio.sleep(0, {}))
    await asyncio.gather(*serving)


async def call(endpoints):
    echoes, streams = [await one.client() for one in endpoints]
    await echoes.wait_for_instances()
    await streams.wait_for_instances()

    def unary(size, _):
        text = text_of(size)

        async def once():
            stream = await echoes.round_robin({"text": text}, annotated=False)
            got = 0
            async for answer in stream:
                expect_same("length", len(answer["text"]), size)
                got += 1
            expect_same("items", got, 1)
            return got

        return once

    def stream(size, count):
        async def once():
            got = 0
            async for item in await streams.round_robin({"bytes": size, "count": count}, annotated=False):
                expect_same("length", len(item["text"]), size)
                got += 1
            expect_same("items", got, count)
            return got

        return once

    report({"ready": True})
    await answer_commands(lambda command: measure(command, {"unary": unary, "stream": stream}))


async def main(role, namespace):
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    endpoints = [runtime.endpoint(f"{namespace}.bench.{name}") for name in ("echo", "items")]
    await (serve if role == "serve" else call)(endpoints)


uvloop.run(main(*sys.argv[1:]))
