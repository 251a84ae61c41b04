import { type BlockManagerOptions, type MemoryRegion, NixlAgent, type PagedSequence } from 'dynamo-node';
import { expect, it, onTestFinished } from 'vitest';
import { BLOCK_BYTES, blockSize } from '../kvbm/blocks.js';
import { deviceLibrary } from '../nixl/device.js';
import { uniqueName } from '../nixl/library.js';
import { context, freeBlocks, handoffPair, opened, promptOf, requestOf } from './pair.js';

const BLOCK_COUNT = 16;

/** Where the blocks of one side lie. */
interface Place {
  readonly options: Partial<BlockManagerOptions>;
  readonly region?: MemoryRegion;
}

async function placeOf(kind: 'mock' | 'ucx', memory: 'VRAM' | 'DRAM'): Promise<Place> {
  if (memory === 'DRAM') return { options: {} };
  const agent = await NixlAgent.create(uniqueName('handoff'), { library: deviceLibrary(kind) });
  onTestFinished(async () => void (await agent.close()));
  const region = await agent.allocate(BLOCK_COUNT * BLOCK_BYTES, { memory });
  return { options: { tier: 'device', storage: { kind: 'region', region } }, region };
}

/** Another byte in each place of each page. */
const bytesOf = (page: number): Uint8Array =>
  Uint8Array.from({ length: BLOCK_BYTES }, (_, index) => (index * 31 + page * 57 + (index >> 8)) % 251);

async function write({ region }: Place, sequence: PagedSequence, page: number): Promise<void> {
  if (region === undefined) sequence.page(page).set(bytesOf(page));
  else await region.upload(bytesOf(page), (sequence.blockTable()[page] as number) * BLOCK_BYTES);
}

async function read({ region }: Place, sequence: PagedSequence, page: number): Promise<Uint8Array> {
  if (region === undefined) return sequence.page(page);
  return region.download((sequence.blockTable()[page] as number) * BLOCK_BYTES, BLOCK_BYTES);
}

/** Tests of handoffs whose blocks lie in device memory: of a GPU, or of the mock's simulated GPU. */
export function describeDeviceHandoff(kind: 'mock' | 'ucx'): void {
  const nixl = kind === 'mock' ? 'mock' : 'real';

  it.each([
    ['VRAM', 'VRAM'],
    ['VRAM', 'DRAM'],
    ['DRAM', 'VRAM'],
  ] as const)(
    'moves the blocks of a prompt from %s of the prefill worker to %s of the decode worker',
    async (from, to) => {
      const [source, target] = [await placeOf(kind, from), await placeOf(kind, to)];
      const both = await handoffPair({
        ...{ offers: { nixl }, receiver: { nixl } },
        ...{ source: source.options, target: target.options },
      });
      const { offers, receiver } = both;
      const prompt = promptOf(4 * blockSize + 1);
      using offer = offers.begin(requestOf(prompt), context());
      const computed = opened(offers.manager, prompt);
      for (let page = 0; page < computed.pageCount; page++) await write(source, computed, page);
      computed.commit();
      const prefill_result = { disaggregated_params: offer.publish(computed) };

      using transfer = receiver.accept(requestOf(prompt, { prefill_result }), context());
      const sequence = opened(receiver.manager, prompt);
      const report = await transfer?.into(sequence);
      expect(report).toMatchObject({ blocks: 4, bytes: 4 * BLOCK_BYTES, library: nixl });
      for (let page = 0; page < 4; page++)
        expect(Buffer.compare(await read(target, sequence, page), bytesOf(page)), `page ${page}`).toBe(0);
      sequence.dispose();
      expect(freeBlocks(both)).toEqual([BLOCK_COUNT, BLOCK_COUNT, 0]);
      if (kind === 'ucx')
        console.log(`${from} to ${to}: ${report?.bytes} bytes in ${report?.transferMs.toFixed(2)} ms`);
    },
  );
}
