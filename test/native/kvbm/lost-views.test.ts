import { describe, expect, it } from 'vitest';
import { hostManager, sequenceOf } from '../../helpers/kvbm/blocks.js';

const stateError = expect.objectContaining({ name: 'BlockStateError', reason: 'kvbm.block_state' });

/** Moves the memory of a view to another buffer, as a reader with its own buffer does. */
async function take(view: Uint8Array): Promise<Uint8Array> {
  const stream = new ReadableStream({
    type: 'bytes',
    pull: (controller) => {
      controller.byobRequest?.respond(1);
    },
  });
  const { value } = await stream.getReader({ mode: 'byob' }).read(view);
  return new Uint8Array((value as Uint8Array).buffer);
}

describe('a view whose memory was moved to another buffer', () => {
  it('never reaches the blocks of another request', async () => {
    const manager = hostManager({ blockCount: 2 });
    const blocks = manager.allocateOrThrow(1);
    const taken = await take(blocks.bytes(0));
    expect(taken.length).toBe(manager.blockBytes);
    blocks.dispose();
    expect(manager.available).toBe(1);
    using others = manager.allocateOrThrow(1);
    others.bytes(0).fill(1);
    taken.fill(2);
    expect(others.bytes(0).every((byte) => byte === 1)).toBe(true);
    expect(manager.allocate(1)).toBeNull();
  });

  it('ends the use of the blocks, except dispose', async () => {
    const manager = hostManager({ blockCount: 4 });
    const sequence = sequenceOf(1);
    const mutable = manager.allocateOrThrow(1);
    await take(mutable.bytes(0));
    expect(() => mutable.bytes(0)).toThrow(stateError);
    expect(() => mutable.stage(sequence)).toThrow(stateError);
    await expect(mutable.write(0, new Uint8Array(manager.blockBytes))).rejects.toThrow(stateError);
    mutable.dispose();

    const registered = manager.allocateOrThrow(1).stage(sequence).register();
    await take(registered.view(0));
    expect(() => registered.clone()).toThrow(stateError);
    await expect(registered.read(0)).rejects.toThrow(/transferred to another buffer/);
    registered.dispose();
    manager.drainInactive();
    expect(manager.available).toBe(2);
  });

  it('keeps its memory after the manager ended', async () => {
    const manager = hostManager({ blockCount: 1 });
    const taken = await take(manager.allocateOrThrow(1).bytes(0));
    manager.dispose();
    taken.fill(3);
    expect(taken.every((byte) => byte === 3)).toBe(true);
  });
});
