"""A worker in Python. `dynamo serve` runs it as `python -m word_statistics`."""

import asyncio
import os
import platform
import signal

from dynamo.runtime import DistributedRuntime, dynamo_worker


@dynamo_worker()
async def worker(runtime: DistributedRuntime):
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, runtime.shutdown)
    namespace = os.environ["DYN_NAMESPACE"]
    split = await runtime.endpoint(f"{namespace}.words.split").client()
    await split.wait_for_instances()

    async def lengths(text, context):
        async for item in await split.generate(text, context=context):
            word = item.data()
            yield {"word": word, "length": len(word), "python": platform.python_version()}

    await runtime.endpoint(f"{namespace}.statistics.lengths").serve_endpoint(lengths)


asyncio.run(worker())
