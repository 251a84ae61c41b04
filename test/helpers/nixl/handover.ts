import { NixlAgent } from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';

import { Child } from '../child.js';
import { deviceLibrary } from './device.js';
import { pattern, sameBytes, uniqueName } from './library.js';

const [LAYERS, BLOCKS, HEADS, HEAD_BYTES] = [4, 64, 8, 2048];

/** A KV cache of several layers, each with its blocks one after another, and each block with its heads. */
export const CACHE = { layers: LAYERS, layerBytes: BLOCKS * HEADS * HEAD_BYTES };

/** The blocks of the prompt in the order of its tokens. */
export const PROMPT = [7, 3, 9, 40, 41, 63, 0];

/** What the prefill worker has computed. */
export const cacheBytes = (): Uint8Array => pattern(new Uint8Array(LAYERS * CACHE.layerBytes), 11);

/** Moves a KV cache from the device of a prefill worker to those of decode workers with half of its heads each. */
export function describeHandover(kind: 'mock' | 'ucx'): void {
  it('moves the KV cache of a prompt from a prefill process into the device memory of decode workers', {
    timeout: 120_000,
  }, async () => {
    const ranks = 2;
    const name = uniqueName('prefill');
    const child = Child.program('test/helpers/nixl/programs/prefill.ts', [kind, name, String(ranks)], {
      env: { NIXL_LOG_LEVEL: 'FATAL' },
    });
    onTestFinished(() => child.stop());
    const offer = (await child.event('offered', {}, 60_000)) as unknown as {
      metadata: string;
      address: string;
      hidden: string;
      blocks: number[];
    };
    const whole = cacheBytes();
    const headBytes = (HEADS / ranks) * HEAD_BYTES;
    for (let rank = 0; rank < ranks; rank++) {
      await using agent = await NixlAgent.create({ library: deviceLibrary(kind) });
      const mine = await agent.allocate(LAYERS * PROMPT.length * headBytes, { memory: 'VRAM' });
      const peer = await agent.connect(Buffer.from(offer.metadata, 'base64'));
      const where = { memory: 'VRAM', device: 0 } as const;
      const layers = Array.from({ length: LAYERS }, (_, layer) =>
        peer.memory({
          address: BigInt(offer.address) + BigInt(layer * CACHE.layerBytes),
          bytes: CACHE.layerBytes,
          ...where,
        }),
      );
      const cut = { blockBytes: headBytes, stride: HEADS * HEAD_BYTES, offset: rank * headBytes };
      const theirs = await agent.blocks(layers, cut);
      const own = await agent.blocks(mine, headBytes);
      expect([theirs.length, own.length]).toEqual([LAYERS * BLOCKS, LAYERS * PROMPT.length]);
      const indices = Int32Array.from({ length: own.length }, (_, index) => index);
      const remote = Int32Array.from(indices, (index) => {
        const [layer, block] = [Math.floor(index / PROMPT.length), index % PROMPT.length];
        return layer * BLOCKS + (offer.blocks[block] as number);
      });
      await agent.transferBlocks('READ', own, indices, theirs, remote, { notify: `done:${rank}` });
      expect((await child.event('done', {}, 30_000))['message']).toBe(`done:${rank}`);
      const got = await mine.download();
      for (const index of indices) {
        const from = (remote[index] as number) * cut.stride + cut.offset;
        const expected = whole.subarray(from, from + headBytes);
        expect(sameBytes(got.subarray(index * headBytes, (index + 1) * headBytes), expected), `block ${index}`).toBe(
          true,
        );
      }
      const hidden = peer.memory({ address: BigInt(offer.hidden), bytes: 4096, ...where });
      await expect(agent.read(mine.slice(0, 4096), hidden)).rejects.toMatchObject({ reason: 'nixl.range' });
    }
    await child.event('freed', {}, 30_000);
  });
}
