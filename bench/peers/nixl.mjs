// nixl.mjs target NAME BYTES | nixl.mjs mover NAME [tcp]
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { NixlAgent } from 'dynamo-node';
import { answerCommands, report } from './load.mjs';
import { measured, scattered } from './measure.mjs';

const [role, name, argument] = process.argv.slice(2);
if (argument === 'tcp' || role === 'tcpTarget') process.env.UCX_TLS = 'tcp';
const agent = await NixlAgent.create(name);
const places = {};
let local;
/** The agent that is written to within this process. The variable keeps it: garbage collection would close it. */
let other;

async function filled(owner, bytes) {
  const region = await owner.allocate(bytes);
  region.view.fill(7);
  return region;
}

if (role !== 'mover') {
  const region = await filled(agent, Number(argument));
  report({
    metadata: Buffer.from(await agent.metadata()).toString('hex'),
    address: Number(region.address),
    library: agent.library.path,
  });
} else {
  report({ ready: true });
}

/** Each returns the repeated work: one lane for each call in flight. */
const works = {
  /** `window` posts in flight. */
  async post({ place, bytes, window, thread }) {
    const transfers = [];
    while (transfers.length < window)
      transfers.push(await agent.prepare('WRITE', local.slice(0, bytes), places[place].slice(0, bytes)));
    const options = thread === 'agent' ? { inline: false } : undefined;
    return {
      lanes: transfers.map((transfer) => () => transfer.post(options)),
      end: () => Promise.all(transfers.map((transfer) => transfer.release())),
    };
  },
  async create({ place, bytes }) {
    return { lanes: [() => agent.write(local.slice(0, bytes), places[place].slice(0, bytes))] };
  },
  async blocks({ place, bytes, count, window }) {
    const [mine, theirs] = [
      await agent.blocks(local.slice(0, count * bytes), bytes),
      await agent.blocks(places[place].slice(0, count * bytes), bytes),
    ];
    const [from, to] = [scattered(count, 0), scattered(count, 1)];
    return {
      lanes: Array.from({ length: window }, () => () => agent.transferBlocks('WRITE', mine, from, theirs, to)),
      end: () => Promise.all([mine.release(), theirs.release()]),
    };
  },
};

const answers = {
  async connect({ bytes, metadata, address }) {
    local = await filled(agent, bytes);
    const known = async (peerOf, metadataOf) => {
      const peer = await agent.connect(metadataOf);
      return peer.memory({ agent: peer.name, bytes, memory: 'DRAM', device: 0, ...peerOf });
    };
    places.two = await known({ address: `0x${address.toString(16)}` }, Buffer.from(metadata, 'hex'));
    if (argument === 'tcp') return agent.read(local.slice(0, 4096), places.two.slice(0, 4096));
    other = await NixlAgent.create(`${name}-target`);
    const { address: here } = (await filled(other, bytes)).descriptor();
    places.one = await known({ address: here }, await other.metadata());
    return {};
  },
  async register({ bytes, count }) {
    const memory = new Uint8Array(bytes * count).fill(7);
    const parts = Array.from({ length: count }, (_, index) => memory.subarray(index * bytes, (index + 1) * bytes));
    const before = process.hrtime.bigint();
    const regions = await agent.registerMany(parts);
    const took = Number(process.hrtime.bigint() - before);
    await Promise.all(regions.map((region) => region.release()));
    return { meanNs: took, p50Ns: took };
  },
  /** The delay of timers while `count` transfers of `bytes` run. */
  async loop({ bytes, count }) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const begin = performance.now();
    const all = await Promise.all(
      Array.from({ length: count }, () => agent.write(local.slice(0, bytes), places.two.slice(0, bytes))),
    );
    const seconds = (performance.now() - begin) / 1000;
    delay.disable();
    const moved = all.reduce((sum, one) => sum + one.bytes, 0);
    return {
      p99Ms: delay.percentile(99) / 1e6,
      maxMs: delay.max / 1e6,
      timers: delay.count,
      gigabytesPerSecond: moved / seconds / 1e9,
    };
  },
  /** A reader of notifications that waits. */
  async listen() {
    void agent.notifications({ background: true }).next();
    return {};
  },
  /** Transfers that wait for a stopped peer. */
  async hold({ bytes, count }) {
    for (let index = 0; index < count; index++)
      void agent.read(local.slice(index * bytes, bytes), places.two.slice(index * bytes, bytes)).catch(() => {});
    return {};
  },
};

await answerCommands(async (command) =>
  command.verb in works ? measured(command.ms, await works[command.verb](command)) : answers[command.verb](command),
);
process.exit();
