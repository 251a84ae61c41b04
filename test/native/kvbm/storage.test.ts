import { existsSync, readdirSync, readlinkSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type BlockLayout,
  type BlockManager,
  type BlockManagerOptions,
  BlockTiers,
  blockBytes,
  type RegisteredBlocks,
  TokenSequence,
} from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { blockSize, hostManager, sequenceOf } from '../../helpers/kvbm/blocks.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';

const layout: BlockLayout = { layers: 2, heads: 2, headDim: 4, elementType: 'float32' };
const BYTES = 2 * 2 * blockSize * 2 * 4 * 4;

const withMemory = (options: Partial<BlockManagerOptions> = {}): BlockManager => hostManager({ layout, ...options });

/** A manager of a file. The file has no name, so `path` is that of its descriptor. */
function withFile(): { disk: BlockManager; path: string; folder: string } {
  const folder = temporaryFolder();
  const storage = { kind: 'file', path: join(folder, 'blocks'), checksums: true } as const;
  const disk = withMemory({ tier: 'disk', storage });
  const descriptors = readdirSync('/proc/self/fd').map((fd) => `/proc/self/fd/${fd}`);
  const path = descriptors.find((fd) => targetOf(fd)?.startsWith(`${folder}/`) === true);
  if (path === undefined) throw new Error(`no open file in ${folder}`);
  return { disk, path, folder };
}

function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined;
  }
}

const pattern = (seed: number): Uint8Array =>
  Uint8Array.from({ length: BYTES }, (_, index) => (seed * 31 + index * 7) & 255);

function storeBytes(manager: BlockManager, sequence: TokenSequence, seed = 1): RegisteredBlocks {
  const blocks = manager.allocateOrThrow(sequence.blockCount);
  for (let index = 0; index < blocks.length; index++) blocks.bytes(index).set(pattern(seed + index));
  return blocks.stage(sequence).register();
}

describe('block storage', () => {
  it('has the bytes per block that the layout describes', () => {
    expect(blockBytes(layout, blockSize)).toBe(BYTES);
    expect(withMemory().blockBytes).toBe(BYTES);
    expect(blockBytes({ ...layout, elementType: 'float8', outer: 1 }, 16)).toBe(2 * 16 * 2 * 4);
  });

  it('is written through a view, read through a view, and read as a copy', async () => {
    const manager = withMemory();
    const stored = storeBytes(manager, sequenceOf(3));
    expect(stored.view(2)).toEqual(pattern(3));
    expect(Buffer.compare(await stored.read(1), pattern(2))).toBe(0);
    const blocks = manager.allocateOrThrow(2);
    expect(blocks.bytes(0).buffer).toBe(blocks.bytes(0).buffer);
    await blocks.write(1, pattern(9));
    expect(blocks.bytes(1)).toEqual(pattern(9));
    await expect(blocks.write(0, new Uint8Array(3))).rejects.toThrow(/expected 512, the size of a block, got 3/);
    expect(() => blocks.bytes(2)).toThrow(RangeError);
  });

  it('does not let blocks of whole pages overlap', async () => {
    const manager = withMemory({ layout: { layers: 8, heads: 4, headDim: 16, elementType: 'float32' } });
    expect(manager.blockBytes % 4096).toBe(0);
    const blocks = manager.allocateOrThrow(8);
    blocks.bytes(7).fill(255);
    expect(blocks.bytes(6).every((byte) => byte === 0)).toBe(true);
  });

  it('detaches views when the blocks are moved or released', () => {
    const manager = withMemory();
    const mutable = manager.allocateOrThrow(2);
    const [first, second] = [mutable.bytes(0), mutable.bytes(1)];
    const rest = mutable.split(1);
    expect([first.length, second.length]).toEqual([BYTES, 0]);
    const other = rest.bytes(0);
    const staged = mutable.stage(sequenceOf(1));
    expect(first.length).toBe(0);
    const registered = staged.register();
    const view = registered.view(0);
    registered.dispose();
    rest.dispose();
    expect([view.length, other.length]).toEqual([0, 0]);
    const last = manager.allocateOrThrow(1).bytes(0);
    manager.dispose();
    expect(last.length).toBe(0);
  });

  it('rejects views of a manager without storage and of a file', async () => {
    const bare = withMemory({ layout: undefined, storage: undefined } as never);
    expect(() => bare.allocateOrThrow(1).bytes(0)).toThrow(/expected a manager with one/);
    const { disk } = withFile();
    const blocks = disk.allocateOrThrow(1);
    expect(() => blocks.bytes(0)).toThrow(/expected memory, got a file/);
    await blocks.write(0, pattern(5));
    const registered = blocks.stage(sequenceOf(1)).register();
    expect(Buffer.compare(await registered.read(0), pattern(5))).toBe(0);
    expect(() => registered.view(0)).toThrow(TypeError);
  });

  it('copies bytes exactly between memory and file', async () => {
    const host = withMemory();
    const { disk } = withFile();
    const stored = storeBytes(host, sequenceOf(4));
    const below = disk.allocateOrThrow(4);
    await disk.copy(stored, below);
    const kept = below.stageAs(stored).register();
    expect([...kept.hashes()]).toEqual([...stored.hashes()]);
    stored.dispose();
    host.drainInactive();
    const above = host.allocateOrThrow(4);
    await host.copy(kept, above);
    const again = above.stageAs(kept).register();
    for (let index = 0; index < 4; index++) expect(again.view(index)).toEqual(pattern(1 + index));
  });

  it('rejects bytes that differ from those that were stored with BlockChecksumError', async () => {
    const host = withMemory();
    const stored = storeBytes(host, sequenceOf(2));
    stored.view(1).fill(0);
    const wrong = expect.objectContaining({ name: 'BlockChecksumError', reason: 'kvbm.checksum' });
    expect((await stored.read(0)).length).toBe(BYTES);
    await expect(stored.read(1)).rejects.toThrow(wrong);
    const { disk } = withFile();
    const target = disk.allocateOrThrow(2);
    await expect(disk.copy(stored, target)).rejects.toThrow(wrong);
    expect(target.stage(sequenceOf(2)).length).toBe(2);
  });

  it('rejects reading blocks that the file lost or that were never written', async () => {
    const { disk, path } = withFile();
    const blocks = disk.allocateOrThrow(2);
    await blocks.write(0, pattern(1));
    const registered = blocks.stage(sequenceOf(2)).register();
    await expect(registered.read(1)).rejects.toThrow(expect.objectContaining({ name: 'BlockChecksumError' }));
    const file = await open(path, 'r+');
    await file.write(Uint8Array.of(255), 0, 1, 17);
    await file.close();
    await expect(registered.read(0)).rejects.toThrow(expect.objectContaining({ name: 'BlockChecksumError' }));
    truncateSync(path, 10);
    await expect(registered.read(0)).rejects.toThrow(
      expect.objectContaining({
        name: 'BlockFileError',
        code: 'DYN_INTERNAL',
        reason: 'kvbm.file_truncated',
        message: expect.stringContaining('the file ends before the block: something else truncated it'),
      }),
    );
  });

  it('has a file without a name, which only this process can open', () => {
    const { disk, path, folder } = withFile();
    expect(readdirSync(folder)).toEqual([]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    disk.dispose();
    expect(targetOf(path)?.startsWith(folder) ?? false).toBe(false);
  });

  it('says what is wrong with the path of its file', () => {
    const folder = temporaryFolder();
    const at = (path: string) => () => withMemory({ tier: 'disk', storage: { kind: 'file', path } });
    const path = join(folder, 'mine');
    writeFileSync(path, 'mine');
    const error = (code: string, reason: string, words: string) =>
      expect.objectContaining({ name: 'BlockFileError', code, reason, message: expect.stringContaining(words) });
    expect(at(path)).toThrow(error('DYN_CONFLICT', 'kvbm.file_exists', 'expected a path that does not exist'));
    expect(existsSync(path)).toBe(true);
    expect(at(join(folder, 'missing/blocks'))).toThrow(
      error('DYN_NOT_FOUND', 'kvbm.file_not_found', 'its folder does not exist'),
    );
  });

  it('rejects copies between different layouts with BlockLayoutError', async () => {
    const host = withMemory();
    const stored = storeBytes(host, sequenceOf(1));
    // The same number of bytes: only the comparison of layouts can reject them.
    for (const other of [
      { ...layout, layers: 4, heads: 1 },
      { ...layout, elementType: 'int8', headDim: 16 } as const,
      { ...layout, outer: 1, layers: 4 } as const,
    ]) {
      const disk = withMemory({ tier: 'disk', layout: other });
      expect(disk.blockBytes).toBe(BYTES);
      const error = expect.objectContaining({ name: 'BlockLayoutError', code: 'DYN_INVALID_REQUEST' });
      const target = disk.allocateOrThrow(1);
      await expect(disk.copy(stored, target)).rejects.toThrow(error);
      expect(target.disposed).toBe(false);
      target.dispose();
      expect(() => new BlockTiers(host, disk)).toThrow(error);
    }
    for (const other of [{ blockSize: 2 * blockSize }, { layout: { ...layout, heads: 4 } }]) {
      const disk = withMemory({ tier: 'disk', ...other });
      await expect(disk.copy(stored, disk.allocateOrThrow(1))).rejects.toThrow(
        expect.objectContaining({ name: 'BlockLayoutError' }),
      );
      expect(() => new BlockTiers(host, disk)).toThrow(expect.objectContaining({ name: 'BlockLayoutError' }));
    }
    await expect(host.copy(stored, host.allocateOrThrow(2))).rejects.toThrow(
      /expected 1 blocks, as in the source, got 2/,
    );
  });

  it('copies single layers, with a checksum for each', async () => {
    const host = withMemory();
    const { disk } = withFile();
    const stored = storeBytes(host, sequenceOf(2));
    const below = disk.allocateOrThrow(2);
    await disk.copy(stored, below, { layers: [1, 2] });
    const part = below.stage(sequenceOf(2)).register();
    // Its first layer was never written.
    await expect(part.read(0)).rejects.toThrow(expect.objectContaining({ name: 'BlockChecksumError' }));
    const above = host.allocateOrThrow(2);
    await host.copy(part, above, { layers: [1, 2] });
    expect(above.bytes(1).subarray(BYTES / 2)).toEqual(pattern(2).subarray(BYTES / 2));
    expect(
      above
        .bytes(1)
        .subarray(0, BYTES / 2)
        .every((byte) => byte === 0),
    ).toBe(true);
    await expect(host.copy(part, above, { layers: [0, 2] })).rejects.toThrow(
      expect.objectContaining({ name: 'BlockChecksumError' }),
    );
    await host.copy(stored, above, { layers: [0, 1] });
    const whole = above.stageAs(stored).register();
    for (let index = 0; index < 2; index++) expect(whole.view(index)).toEqual(pattern(1 + index));
    using refused = disk.allocateOrThrow(2);
    for (const layers of [
      [0, 3],
      [1, 1],
      [-1, 1],
      [2, 1],
    ] as const)
      await expect(disk.copy(stored, refused, { layers })).rejects.toThrow(RangeError);
    await expect(disk.copy(stored, refused, { layers: [1] as never })).rejects.toThrow(TypeError);
    await expect(disk.copy(stored, refused, { sourceLayout: 'NHD' } as never)).rejects.toThrow(/unknown option/);
  });

  it('copies within one manager to other blocks', async () => {
    const host = withMemory();
    const stored = storeBytes(host, sequenceOf(3));
    const twins = host.allocateOrThrow(3);
    await host.copy(stored, twins);
    expect([...twins.ids].some((id) => stored.ids.includes(id))).toBe(false);
    for (let index = 0; index < 3; index++)
      expect([twins.bytes(index), stored.view(index)]).toEqual([pattern(1 + index), pattern(1 + index)]);
  });

  it('keeps the target blocks mutable and unnamed if a copy fails half-way', async () => {
    const host = withMemory();
    const { disk, path } = withFile();
    const sequence = sequenceOf(3);
    const below = disk.allocateOrThrow(3);
    for (let index = 0; index < 3; index++) await below.write(index, pattern(1 + index));
    const kept = below.stage(sequence).register();
    truncateSync(path, 2 * BYTES - 1);
    const above = host.allocateOrThrow(3);
    await expect(host.copy(kept, above)).rejects.toThrow(expect.objectContaining({ reason: 'kvbm.file_truncated' }));
    expect([above.disposed, host.available, host.matchPrefix(sequence)]).toEqual([false, 5, undefined]);
    await host.copy(kept.clone(0, 1), above.split(2));
    above.dispose();
    expect(disk.available).toBe(5);
  });

  it('copies hundreds of blocks concurrently and correctly', async () => {
    const host = withMemory({ blockCount: 256 });
    const disk = withMemory({
      tier: 'disk',
      blockCount: 256,
      storage: { kind: 'file', path: join(temporaryFolder(), 'blocks'), checksums: true },
    });
    const kept = await Promise.all(
      Array.from({ length: 256 }, async (_, seed) => {
        const sequence = sequenceOf(1, seed);
        const stored = storeBytes(host, sequence, seed);
        const below = disk.allocateOrThrow(1);
        await disk.copy(stored, below);
        return below.stageAs(stored).register();
      }),
    );
    for (const [seed, blocks] of kept.entries()) expect(Buffer.compare(await blocks.read(0), pattern(seed))).toBe(0);
  });

  it('keeps blocks until a copy ends, even if they are disposed of or the copy is aborted', async () => {
    const big: BlockLayout = { layers: 16, heads: 8, headDim: 64, elementType: 'float32' };
    // Long enough to be caught in the middle.
    const blockCount = 64;
    const host = withMemory({ layout: big, blockSize: 16, blockCount });
    const path = join(temporaryFolder(), 'blocks');
    const disk = withMemory({
      tier: 'disk',
      layout: big,
      blockSize: 16,
      blockCount,
      storage: { kind: 'file', path, checksums: true },
    });
    using sequence = new TokenSequence(new Uint32Array(blockCount * 16), { blockSize: 16 });
    const stored = host.allocateOrThrow(blockCount).stage(sequence).register();
    const target = disk.allocateOrThrow(blockCount);
    const copied = disk.copy(stored, target);
    expect(() => target.stage(sequence)).toThrow(expect.objectContaining({ name: 'BlockStateError' }));
    const refused = expect(target.write(0, new Uint8Array(disk.blockBytes))).rejects.toThrow(
      expect.objectContaining({ name: 'BlockStateError' }),
    );
    // Nothing was awaited since the copy began, so it is still in flight.
    stored.dispose();
    target.dispose();
    expect([host.allocate(1), disk.allocate(1)]).toEqual([null, null]);
    await refused;
    await copied;
    expect([host.available, disk.available]).toEqual([blockCount, blockCount]);

    const abort = new AbortController();
    const [again, below] = [host.matchPrefix(sequence) as RegisteredBlocks, disk.allocateOrThrow(blockCount)];
    const aborted = disk.copy(again, below, { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    again.dispose();
    below.dispose();
    await expect.poll(() => [host.available, disk.available], { timeout: 10_000 }).toEqual([blockCount, blockCount]);
  });
});
