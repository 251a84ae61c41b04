// Moves 1,000 KV blocks from one process to another. Prints the transport, the speed, and the speed of a memory copy.
// Usage: npm run example -- move-blocks [--once] [--blocks N]
import { parseArgs } from 'node:util';
import { loadNixl, type MemoryDescriptor, NixlAgent, nixlExplain } from 'dynamo-node';
import { ChildProgram, fail } from '../processes.js';

const BLOCK_BYTES = 64 * 1024;
const ROUNDS = 5;

const { values: args } = parseArgs({
  options: { blocks: { type: 'string', default: '1000' }, once: { type: 'boolean', default: false } },
});
const blocks = Number(args.blocks);
if (!Number.isInteger(blocks) || blocks < 1 || blocks > 10_000)
  fail(`--blocks: expected a number from 1 to 10000, got ${args.blocks}`);

interface Ready {
  readonly metadata: string;
  readonly descriptor: MemoryDescriptor;
}

const library = loadNixl({ mode: 'auto' });
const decode = ChildProgram.start(new URL('decode.ts', import.meta.url), [
  String(blocks),
  String(BLOCK_BYTES),
  library.kind,
]);
try {
  await using prefill = await NixlAgent.create('prefill', { library });
  const region = await prefill.allocate(blocks * BLOCK_BYTES);
  const view = region.view as Uint8Array;
  for (let block = 0; block < blocks; block++) view.fill(block % 251, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);

  const { metadata, descriptor } = await decode.message<Ready>();
  const peer = await prefill.connect(Buffer.from(metadata, 'base64'));
  const mine = await prefill.blocks(region, BLOCK_BYTES);
  const theirs = await prefill.blocks(peer.memory(descriptor), BLOCK_BYTES);
  // The receiver stores its blocks in the reverse order.
  const from = Int32Array.from({ length: blocks }, (_, block) => block);
  const to = from.map((block) => blocks - 1 - block);

  await prefill.transferBlocks('WRITE', mine, from, theirs, to);
  let bestMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const last = round === ROUNDS - 1;
    const { durationMs } = await prefill.transferBlocks(
      'WRITE',
      mine,
      from,
      theirs,
      to,
      last ? { notify: 'blocks 0 to end' } : {},
    );
    if (!last) bestMs = Math.min(bestMs, durationMs);
  }
  const { transport, evidence, detail } = await nixlExplain(
    { peer: Buffer.from(metadata, 'base64'), remote: descriptor },
    { library },
  );
  const { notified, wrong } = await decode.message<{ notified: string; wrong: number }>();

  const bytes = blocks * BLOCK_BYTES;
  const rate = (ms: number): string => `${(bytes / ms / 1e6).toFixed(1)} GB/s`;
  const size = `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  console.log(`moved     ${blocks} blocks of 64 KiB from process ${process.pid} to process ${decode.pid}, ${size}`);
  console.log(
    `library   ${library.kind === 'real' ? `NIXL, ${library.path}` : 'the mock: NIXL is not installed here'}`,
  );
  console.log(`transport ${transport} (${evidence}: ${detail})`);
  const result = wrong === 0 ? 'all as sent' : `${wrong} blocks are wrong`;
  console.log(`checked   every byte there: ${result}, after the notification '${notified}'`);
  console.log(`speed     ${rate(bestMs)}, best of ${ROUNDS - 1} (${bestMs.toFixed(2)} ms)`);
  console.log(`memcpy    ${rate(copyMs(view))} in this process`);
  if (wrong !== 0) process.exitCode = 1;
} finally {
  await decode.stop();
}

/** The best time of a copy of the same bytes within this process. */
function copyMs(source: Uint8Array): number {
  const target = new Uint8Array(source.length);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const begin = performance.now();
    target.set(source);
    best = Math.min(best, performance.now() - begin);
  }
  return best;
}
