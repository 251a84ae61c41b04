"""One side of the virtual connector of Dynamo's Python planner. Usage: virtual.py coordinator|client NAMESPACE"""

import asyncio
import os
import sys

from dynamo._core import VirtualConnectorClient, VirtualConnectorCoordinator
from dynamo.runtime import DistributedRuntime


async def coordinator(runtime, namespace):
    """Publishes a decision, waits until it is carried out, and publishes another one."""
    side = VirtualConnectorCoordinator(runtime, namespace, 1, 60, 60)
    await side.async_init()
    await side.update_scaling_decision(3, 2)
    print("published", flush=True)
    await side.wait_for_scaling_completion()
    print("completed", await side.is_scaling_ready(), flush=True)
    await side.update_scaling_decision(None, 5)
    await asyncio.sleep(60)


async def client(runtime, namespace):
    """Carries out decisions."""
    side = VirtualConnectorClient(runtime, namespace)
    while True:
        await side.wait()
        decision = await side.get()
        print(decision.num_prefill_workers, decision.num_decode_workers, decision.decision_id, flush=True)
        await side.complete(decision)


async def main():
    runtime = DistributedRuntime(asyncio.get_running_loop(), "file", "tcp")
    await {"coordinator": coordinator, "client": client}[sys.argv[1]](runtime, sys.argv[2])


try:
    asyncio.run(main())
finally:
    os._exit(0)
