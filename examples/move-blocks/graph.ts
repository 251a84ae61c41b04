// A prefill worker writes KV blocks into the memory of a decode worker, by NIXL.
import { loadNixl, type MemoryDescriptor, type MemoryRegion, NixlAgent, nixlExplain } from 'dynamo-node';
import { type ClientOf, depends, endpoint, graph, onShutdown, onStart, service } from 'dynamo-node/sdk';
import { z } from 'zod';

const BLOCK_BYTES = 64 * 1024;
const ROUNDS = 5;

const library = loadNixl({ mode: 'auto' });
const byteOf = (block: number): number => block % 251;
const blockOf = ({ view }: MemoryRegion, place: number): Uint8Array =>
  (view as Uint8Array).subarray(place * BLOCK_BYTES, (place + 1) * BLOCK_BYTES);

@service()
class Decode {
  #agent!: NixlAgent;
  #region!: MemoryRegion;

  @onStart()
  async start(): Promise<void> {
    this.#agent = await NixlAgent.create('decode', { library });
  }

  @onShutdown()
  async stop(): Promise<void> {
    await this.#agent.close();
  }

  /** Makes space for blocks, and describes it to the sender. */
  @endpoint()
  async allocate(blocks: number): Promise<{ metadata: Uint8Array; descriptor: MemoryDescriptor }> {
    await this.#region?.release();
    this.#region = await this.#agent.allocate(blocks * BLOCK_BYTES);
    return { metadata: await this.#agent.metadata(), descriptor: this.#region.descriptor() };
  }

  /** Waits for the notification of the transfer, and checks every byte. The blocks are there in the reverse order. */
  @endpoint()
  async check(blocks: number): Promise<string> {
    const { value } = await this.#agent.notifications().next();
    for (let place = 0; place < blocks; place++)
      if (!blockOf(this.#region, place).every((byte) => byte === byteOf(blocks - 1 - place)))
        throw new Error(`block ${place} is not as sent`);
    return `process ${process.pid} has every byte as sent, after the notification '${Buffer.from(value.data)}'`;
  }
}

@service()
export class Prefill {
  @depends(Decode) readonly decode!: ClientOf<Decode>;

  @endpoint({ transports: ['dynamo', 'http'], input: z.object({ blocks: z.number().int().min(1).max(10_000) }) })
  async *move({ blocks }: { blocks: number }): AsyncGenerator<string> {
    await using agent = await NixlAgent.create('prefill', { library });
    const region = await agent.allocate(blocks * BLOCK_BYTES);
    for (let block = 0; block < blocks; block++) blockOf(region, block).fill(byteOf(block));

    const { metadata, descriptor } = await this.decode.allocate(blocks);
    const peer = await agent.connect(metadata);
    const mine = await agent.blocks(region, BLOCK_BYTES);
    const theirs = await agent.blocks(peer.memory(descriptor), BLOCK_BYTES);
    const from = Int32Array.from({ length: blocks }, (_, block) => block);
    const to = from.toReversed();
    const moveBlocks = (notify?: string) =>
      agent.transferBlocks('WRITE', mine, from, theirs, to, notify === undefined ? {} : { notify });

    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) times.push((await moveBlocks()).durationMs);
    yield `library   ${library.kind === 'real' ? `NIXL, ${library.path}` : 'the mock: NIXL is not installed here'}`;
    const { transport, evidence, detail } = await nixlExplain({ peer: metadata, remote: descriptor }, { library });
    yield `transport ${transport} (${evidence}: ${detail})`;
    yield `moved     ${blocks} blocks of 64 KiB from process ${process.pid}: ${rate(region, times)}`;
    await moveBlocks(`blocks 0 to ${blocks - 1}`);
    yield `checked   ${await this.decode.check(blocks)}`;
    yield `memcpy    in one process: ${rate(region, copyTimes(region.view as Uint8Array))}`;
  }
}

const rate = ({ view }: MemoryRegion, times: readonly number[]): string =>
  `${((view as Uint8Array).length / Math.min(...times) / 1e6).toFixed(1)} GB/s, the best of ${times.length}`;

function copyTimes(source: Uint8Array): number[] {
  const target = new Uint8Array(source.length);
  return Array.from({ length: ROUNDS }, () => {
    const begin = performance.now();
    target.set(source);
    return performance.now() - begin;
  });
}

export default graph('move-blocks', Prefill);
