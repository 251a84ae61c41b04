import { KvIndexer } from 'dynamo-node';
import { routerEventOf, type VllmKvEvent, VllmKvEvents } from 'dynamo-node/vllm';
import { expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { missingPeers, startPeer } from '../../helpers/interop/peers.js';
import { deployments, post } from '../../helpers/llm/deployments.js';
import { freePort } from '../../helpers/runtime/cluster.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

if (missingPeers !== undefined) console.log(`skipped: ${missingPeers}`);

const BLOCK_SIZE = 16;
const BLOCKS = 4;
const START_MS = 90_000;
const deployment = deployments();

describeUnless(missingPeers, "KV events in vLLM's format, from Dynamo's mocker", () => {
  it('let an index find the blocks of a prompt', { timeout: 2 * START_MS }, async () => {
    const here = deployment();
    const { dir } = here.options.discovery as { dir: string };
    const port = await freePort();
    const peer = startPeer(
      dir,
      ...['-m', 'dynamo.mocker', '--model-path', modelPath, '--model-name', 'mocked', '--speedup-ratio', '100'],
      ...['--block-size', String(BLOCK_SIZE), '--zmq-kv-events-ports', String(port)],
    );
    onTestFinished(() => peer.stop());
    const seen: VllmKvEvent[] = [];
    const losses: string[] = [];
    const events = await VllmKvEvents.connect({
      port,
      onEvent: (event) => seen.push(event),
      onLoss: (message) => losses.push(message),
    });
    onTestFinished(() => events.close());
    const frontend = await here.frontend();
    const promptOf = (first: number): number[] =>
      Array.from({ length: BLOCKS * BLOCK_SIZE + 3 }, (_, index) => first + index);
    const ask = async (prompt: readonly number[]): Promise<number> =>
      (await post(frontend, '/v1/completions', { model: 'mocked', prompt, max_tokens: 2 })).status;
    // A publisher sends nothing to subscribers that are not connected yet, so other prompts come first.
    let others = 0;
    await waitFor(
      'a first event',
      () => ask(promptOf(100 + others++)),
      () => seen.length > 0,
      START_MS,
    );
    const prompt = promptOf(20);
    expect(await ask(prompt)).toBe(200);
    const lastOf = (event: VllmKvEvent): number => (event.kind === 'stored' ? (event.tokens.at(-1) ?? 0) : 0);
    const last = prompt[BLOCKS * BLOCK_SIZE - 1];
    await waitFor(
      'the events of the prompt',
      () => seen.map(lastOf),
      (tokens) => tokens.includes(last as number),
    );

    await using indexer = new KvIndexer({ blockSize: BLOCK_SIZE });
    for (const event of seen) {
      const change = routerEventOf(event, BLOCK_SIZE);
      if (change !== undefined) await indexer.apply([{ ...change, workerId: 1n }]);
    }
    expect((await indexer.findMatchesForTokens(prompt)).get(1n)).toBe(BLOCKS);
    expect(losses).toEqual([]);
  });
});
