import { BlockManager, BlockRegistry, BlockTiers, TokenSequence } from '../../../../lib/index.js';
import { emit } from '../../runtime/programs/lines.js';

const dir = process.argv[2] as string;
const MAX_BLOCKS = 2 ** 24 - 2;
const layout = { layers: 4096, heads: 65536, headDim: 65536, elementType: 'float32', outer: 2 } as const;
const small = { layers: 4096, heads: 1, headDim: 1, elementType: 'int8', outer: 1 } as const;
const manager = { tier: 'host', blockCount: MAX_BLOCKS, blockSize: 1024 } as const;
const memory = { kind: 'memory', checksums: true } as const;

const made: Record<string, () => unknown> = {
  blockCount: () => new BlockManager(manager),
  lru: () => new BlockManager({ ...manager, eviction: 'lru' }),
  fifo: () => new BlockManager({ ...manager, eviction: 'fifo' }),
  multiLru: () =>
    new BlockManager({
      ...manager,
      registry: new BlockRegistry({ frequency: 'large' }),
      eviction: { policy: 'multi-lru', thresholds: [13, 14, 15] },
    }),
  layout: () => new BlockManager({ ...manager, layout, storage: memory }),
  checksums: () => new BlockManager({ ...manager, layout: small, storage: memory }),
  fileChecksums: () =>
    new BlockManager({
      ...manager,
      tier: 'disk',
      layout: small,
      storage: { kind: 'file', path: `${dir}/blocks`, checksums: true },
    }),
  events: () => new BlockManager({ ...manager, blockCount: 1, events: { capacity: 2 ** 24 } }),
  registryEvents: () => new BlockRegistry({ frequency: 'large', events: { capacity: 2 ** 24 } }),
  sequence: () => new TokenSequence([1], { blockSize: 65536 }),
  tiers: () => {
    const registry = new BlockRegistry();
    const [upper, lower] = (['host', 'disk'] as const).map(
      (tier) => new BlockManager({ tier, blockCount: 1, blockSize: 1, registry }),
    ) as [BlockManager, BlockManager];
    return new BlockTiers(upper, lower, {
      batchBlocks: Number.MAX_SAFE_INTEGER,
      queueBlocks: Number.MAX_SAFE_INTEGER,
    });
  },
};

/** Kept, so that all of them are there at the same time. */
const kept: unknown[] = [];
for (const [name, make] of Object.entries(made)) {
  let result = 'made';
  try {
    kept.push(make());
  } catch (error) {
    result = (error as { code?: string }).code ?? (error as Error).name;
  }
  emit('made', { name, result });
}
emit('all', { count: kept.length });
process.exit(0);
