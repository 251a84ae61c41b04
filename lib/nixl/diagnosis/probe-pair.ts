// nixlExplain() runs it in a separate process. It reads a peer's memory, so that UCX chooses and reports a transport.
// It also measures the reads.
import { invokeSync, native } from '../../addon/invoke.js';
import { NixlAgent } from '../agent.js';
import { loadNixl } from '../library.js';
import type { MemoryDescriptor } from '../memory.js';
import { answer, question } from './probe.js';

export interface PairQuestion {
  readonly path: string;
  readonly metadata: string;
  readonly remote: MemoryDescriptor;
  readonly local: 'DRAM' | 'VRAM';
  readonly localDevice: number;
  readonly params: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

export interface PairAnswer {
  readonly latencyUs: number;
  readonly bytesPerSecond: number;
  /** The bytes that were read during the timed reads. */
  readonly moved: number;
  /** The bytes that arrived through TCP sockets during the timed reads. */
  readonly received: number;
}

const SMALL_BYTES = 4096;
const LARGE_BYTES = 16 * 2 ** 20;
const SMALL_RUNS = 100;
const LARGE_RUNS = 5;

const { path, metadata, remote, local, localDevice, params, timeoutMs } = await question<PairQuestion>();
const agent = await NixlAgent.create(`explain-${process.pid}`, {
  library: loadNixl({ path }),
  backends: { UCX: params },
});
const bytes = Math.min(remote.bytes, LARGE_BYTES);
const buffer = await agent.allocate(bytes, { memory: local, device: localDevice });
const peer = await agent.connect(new Uint8Array(Buffer.from(metadata, 'base64')), { timeoutMs });
const theirs = peer.memory(remote);

async function times(size: number, runs: number): Promise<number[]> {
  await using transfer = await agent.prepare('READ', buffer.slice(0, size), theirs.slice(0, size));
  await transfer.post({ timeoutMs });
  const all: number[] = [];
  for (let run = 0; run < runs; run++) all.push((await transfer.post({ timeoutMs })).durationMs);
  return all.sort((a, b) => a - b);
}

const small = await times(Math.min(bytes, SMALL_BYTES), SMALL_RUNS);
const receivedBytes = (): number => invokeSync(native.nixlProcessReceived, 'nixlExplain');
const before = receivedBytes();
const large = await times(bytes, LARGE_RUNS);
answer({
  moved: bytes * (LARGE_RUNS + 1),
  received: receivedBytes() - before,
  latencyUs: (small[SMALL_RUNS / 2] as number) * 1000,
  bytesPerSecond: bytes / ((large[0] as number) / 1000),
} satisfies PairAnswer);
await buffer.release();
await agent.close();
