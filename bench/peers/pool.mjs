// pool.mjs source|target BLOCK_COUNT: the two sides of a handoff, without a frontend and a model
import { DistributedRuntime, loadNixl, NixlAgent } from 'dynamo-node';
import { KvOffers, KvReceiver } from 'dynamo-node/disagg';
import { register } from 'tsx/esm/api';
import { answerCommands, report } from './load.mjs';
import { measured, scattered } from './measure.mjs';

register();
const { poolOf, sequenceOf } = await import('./plain-engines.ts');

const [role, blockCount] = process.argv.slice(2);
const manager = poolOf({ blockSize: 16, blockCount: Number(blockCount) });
const runtime = await DistributedRuntime.create();
const endpoint = runtime.endpoint('pools.prefill.kv_offers');
const options = { model: 'pools', nixl: 'real' };
const context = { signal: new AbortController().signal };

// Every page is present in memory, as after a prefill.
const whole = sequenceOf(manager, new Uint32Array(manager.blockCount * manager.blockSize));
for (let page = 0; page < whole.pageCount; page++) whole.page(page).fill(7);
whole.dispose();

/** No two prompts of a run share a block. */
const promptOf = ({ seed, blocks }) =>
  Uint32Array.from({ length: blocks * manager.blockSize }, (_, index) => seed * 65_536 + index);

async function source() {
  const offers = await KvOffers.serve(manager, endpoint, options);
  report({ ready: true });
  return {
    /** Offers a prompt, as a prefill worker does after the computation. */
    offer(command) {
      const tokens = promptOf(command);
      const begin = performance.now();
      const offer = offers.begin({ token_ids: tokens }, context);
      const sequence = sequenceOf(manager, tokens);
      sequence.commit();
      const computed = performance.now();
      const params = offer.publish(sequence);
      return { params, openMs: computed - begin, publishMs: performance.now() - computed };
    },
    describe: async () => {
      const client = await endpoint.client({ mode: 'direct' });
      const [{ instanceId }] = await client.waitForInstances();
      const { metadata, memory } = await client.unary({ op: 'describe' }, { instanceId });
      await client.close();
      return { metadata: Buffer.from(metadata).toString('hex'), memory };
    },
  };
}

async function target() {
  const receiver = await KvReceiver.connect(manager, endpoint, options);
  const agent = await NixlAgent.create('pool-reader', { library: loadNixl({ mode: 'real' }) });
  const client = await endpoint.client({ mode: 'direct' });
  const [{ instanceId }] = await client.waitForInstances();
  const region = await manager.registerWith(agent);
  const mine = await agent.blocks(region.slice(0, manager.blockCount * manager.blockBytes), manager.blockBytes);
  let theirs;
  report({ ready: true, blockBytes: manager.blockBytes });
  return {
    async connect({ metadata, memory }) {
      const peer = await agent.connect(Buffer.from(metadata, 'hex'));
      theirs = await agent.blocks(peer.memory(memory), manager.blockBytes);
      return {};
    },
    /** Reads `count` scattered blocks of the other pool again and again, `window` reads in flight. */
    reads({ ms, count, window }) {
      const [from, to] = [scattered(count, 0), scattered(count, 1)];
      const lane = () => agent.transferBlocks('READ', mine, to, theirs, from);
      return measured(ms, { lanes: Array.from({ length: window }, () => lane) });
    },
    /** Takes an offer, as a decode worker does before its first token. */
    async take({ params, ...prompt }) {
      const tokens = promptOf(prompt);
      const begin = performance.now();
      const transfer = receiver.accept(
        { token_ids: tokens, prefill_result: { disaggregated_params: params } },
        context,
      );
      const sequence = sequenceOf(manager, tokens);
      const opened = performance.now();
      const { blocks, bytes, transferMs, handoffMs } = await transfer.into(sequence);
      const takeMs = performance.now() - begin;
      sequence.dispose();
      transfer[Symbol.dispose]();
      manager.drainInactive();
      const called = performance.now();
      await client.unary({ op: 'beat', offer: '' }, { instanceId });
      return {
        blocks,
        bytes,
        transferMs,
        handoffMs,
        takeMs,
        openMs: opened - begin,
        callMs: performance.now() - called,
      };
    },
  };
}

const answers = await (role === 'source' ? source() : target());
await answerCommands(({ verb, ...command }) => answers[verb](command));
process.exit(0);
