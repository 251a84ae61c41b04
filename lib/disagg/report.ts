/** What a handoff moved, and how long its parts took. */
export interface KvTransferReport {
  /** The instance id of the prefill worker. */
  readonly prefillWorker: bigint;
  readonly promptTokens: number;
  /** Prompt tokens that this worker had cached, so that their blocks were not read. */
  readonly cachedTokens: number;
  /** Blocks that were read. */
  readonly blocks: number;
  readonly bytes: number;
  /** The read alone; 0 if nothing had to be read. */
  readonly transferMs: number;
  /** From the offer and the pages, whichever came last, to the blocks in place. Includes `transferMs`. */
  readonly handoffMs: number;
  /** The time that decode waited for the offer; 0 if prefill came first. */
  readonly waitMs: number;
  /** What moved the bytes: the NIXL library, or the mock. */
  readonly library: 'real' | 'mock';
}

/** What moves the bytes, in a word. */
export const TRANSPORTS = { real: 'NIXL', mock: 'mock of NIXL' } as const;

/** What a handoff moved, how fast, and by what, in one line for logs. */
export function transferLine({ blocks, bytes, transferMs, handoffMs, library }: KvTransferReport): string {
  const speed = Number((bytes / transferMs / 1e6).toPrecision(2));
  const by = `${speed} GB/s, by ${TRANSPORTS[library]}`;
  const moved =
    blocks === 0
      ? 'nothing: the decode worker had every block'
      : `${blocks} ${blocks === 1 ? 'block' : 'blocks'}, ${bytes / 1024} KiB, in ${transferMs.toFixed(2)} ms, ${by}`;
  return `${moved}; handoff ${handoffMs.toFixed(2)} ms`;
}
