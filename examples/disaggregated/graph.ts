// A prefill worker and a decode worker behind Dynamo's frontend. Each request's KV blocks move between them.
import type { KvTransferReport } from 'dynamo-node/disagg';
import { engineService, frontendService, graph } from 'dynamo-node/sdk';

/** Where the prefill worker offers its blocks. */
const OFFERS = 'dynamo.prefill.kv_offers';
/** Tokens in a block: small, so that a short prompt has several. */
const BLOCK_SIZE = 16;

/** What the decode worker publishes about each request. */
export interface Handoff extends KvTransferReport {
  /** What carried the bytes, and how that is known. */
  readonly transport: string;
}

const Frontend = frontendService('Frontend', { host: '127.0.0.1', port: 8000 });

export const Prefill = engineService(
  'Prefill',
  async ({ runtime }) => {
    const [{ modelPath }, { PrefillEngine }] = await Promise.all([
      import('../tiny-llama/engine.js'),
      import('../tiny-llama/prefill-engine.js'),
    ]);
    const { metrics } = runtime.endpoint('dynamo.prefill.generate');
    const cache = { blockSize: BLOCK_SIZE };
    return {
      engine: new PrefillEngine(runtime.endpoint(OFFERS), { cache, metrics }),
      modelPath,
      workerType: 'prefill',
    };
  },
  { role: 'prefill' },
);

export const Decode = engineService(
  'Decode',
  async ({ runtime }) => {
    const [{ modelPath }, { DecodeEngine }] = await Promise.all([
      import('../tiny-llama/engine.js'),
      import('../tiny-llama/decode-engine.js'),
    ]);
    const { metrics } = runtime.endpoint('dynamo.decode.generate');
    const handoffs = await runtime.namespace('dynamo').publisher<Handoff>('handoffs');
    let transport: Promise<string> | undefined;
    const engine: InstanceType<typeof DecodeEngine> = new DecodeEngine(runtime.endpoint(OFFERS), {
      cache: { blockSize: BLOCK_SIZE },
      metrics,
      onTransfer: async (report) => {
        transport ??= engine.receiver.explain().then(
          ([route]) => `${route?.transport} (${route?.evidence})`,
          (error: Error) => `not known: ${error.message}`,
        );
        await handoffs.publish({ ...report, transport: await transport });
      },
    });
    return { engine, modelPath, workerType: 'decode' };
  },
  { role: 'decode' },
);

export default graph('disaggregated', Frontend).with(Prefill).with(Decode);
