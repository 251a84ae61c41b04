// Uses every numeric option of NIXL at its greatest value, on the mock, and prints how each call ends.
import { type AddressSource, loadNixl, NixlAgent, type NixlLoadOptions } from 'dynamo-node';

const MAX = Number.MAX_SAFE_INTEGER;
const ends: Record<string, string> = {};

/** Finds the greatest value that is accepted, from a list that descends. */
async function end(name: string, call: () => unknown): Promise<void> {
  try {
    await call();
    ends[name] = 'done';
  } catch (error) {
    const { name: kind, reason, message } = error as Error & { reason?: string };
    ends[name] = reason ?? `${kind}: ${message.slice(0, 200)}`;
  }
}

/** The greatest value that an option accepts, found by bisection. */
function greatest(accepts: (value: number) => void): number {
  const fits = (value: number): boolean => {
    try {
      accepts(value);
      return true;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  };
  if (fits(MAX)) return MAX;
  let [low, high] = [0, MAX];
  while (high - low > 1) {
    const middle = Math.floor(low + (high - low) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

type Knob = keyof NonNullable<NixlLoadOptions['mock']>;
const load = (mock: NonNullable<NixlLoadOptions['mock']>) => loadNixl({ mode: 'mock', mock });

for (const knob of ['seed', 'polls', 'latencyUs', 'bytesPerSecond', 'lateCopyUs', 'failAt', 'fakeGpus'] as const) {
  await end(`mock.${knob} beyond`, () => load({ [knob]: MAX }));
  const most = ((): number => {
    // Each value makes the backend of a number of GPUs, so only the two ends are tried.
    if (knob === 'fakeGpus') return 1024;
    return greatest((value) => load({ [knob satisfies Knob]: value }));
  })();
  await end(`mock.${knob}`, async () => {
    const library = load({ completion: 'delayed', [knob]: most });
    await using agent = await NixlAgent.create('limits', { library });
    const region = await agent.allocate(4096);
    await agent.write(region.slice(0, 10), region.slice(20, 10), { timeoutMs: 50 });
  });
}

const library = load({});
await end('progressDelayUs beyond', () => NixlAgent.create('limits', { library, progressDelayUs: MAX }));
for (const progressDelayUs of [60_000_000])
  await end('progressDelayUs', async () => (await NixlAgent.create('limits', { library, progressDelayUs })).close());
await end('listenPort', async () => (await NixlAgent.create('limits', { library, listenPort: 65535 })).close());

const agent = await NixlAgent.create('limits', { library, backends: { UCX: {}, POSIX: {} } });
const peer = await NixlAgent.create('peer', { library });
const region = await agent.allocate(4096);
const theirs = await peer.allocate(4096);
const remote = await agent.connect(await peer.metadata());
const address = (more: object) => ({ address: region.address, bytes: 1, memory: 'DRAM', ...more }) as AddressSource;

await end('allocate bytes', () => agent.allocate(MAX));
await end('allocate 1 TiB', async () => (await agent.allocate(2 ** 40)).release());
await end('allocate device', () => agent.allocate(1, { memory: 'VRAM', device: 1023 }));
await end('allocate timeoutMs', async () => (await agent.allocate(1, { timeoutMs: 2 ** 31 - 1 })).release());
await end('register address', () => agent.register(address({ address: BigInt(MAX) - 1n })));
await end('register device', async () => (await agent.register(address({ device: MAX }))).release());
await end('register VRAM device', () => agent.register(address({ memory: 'VRAM', device: MAX })));
await end('register fd', async () => (await agent.register({ fd: 2 ** 31 - 1, bytes: MAX })).release());
await end('register file bytes', async () => {
  const file = await agent.register({ path: '/etc/hostname', bytes: MAX });
  await agent.read(region, file.slice(MAX - 4096));
});
await end('transfer bytes', async () => {
  const most = await agent.register(address({ address: 2n ** 52n, bytes: 2 ** 52 - 2 }));
  const claimed = remote.memory({ ...theirs.descriptor(), address: '0x0', bytes: 2 ** 52 - 2 });
  await agent.write(most, claimed);
});
await end('blocks of one byte', async () => {
  const claimed = remote.memory({ ...theirs.descriptor(), address: '0x0', bytes: MAX });
  await agent.blocks(claimed, 1);
});
await end('blocks of 4 GiB', () => agent.blocks(region, 2 ** 32 - 1));
await end('blocks stride', () => agent.blocks(region, { blockBytes: 1, stride: MAX }));
await end('blocks offset', () => agent.blocks(region, { blockBytes: 1, offset: MAX }));
await end('as many blocks as a list may have', async () => {
  const all = await agent.allocate(2 ** 22);
  const list = await agent.blocks(all, 1);
  await list.release();
  await all.release();
});
await end('notifications maxQueued', () => agent.notifications({ maxQueued: 2 ** 20, timeoutMs: 20 }).next());
await end('fetch port', () => agent.fetch('x', { host: '127.0.0.1', port: 65535 }, { timeoutMs: 20 }));
await end('close timeoutMs', () => peer.close({ timeoutMs: 2 ** 31 - 1 }));
await end('close', () => agent.close());
console.log(JSON.stringify({ event: 'done', ends }));
