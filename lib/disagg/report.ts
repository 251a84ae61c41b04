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

/** One line about a handoff, for logs and examples. */
export function transferLine({ prefillWorker, promptTokens, cachedTokens, ...report }: KvTransferReport): string {
  const { blocks, bytes, transferMs, handoffMs, library } = report;
  const by = library === 'real' ? 'NIXL' : 'the mock of NIXL';
  const moved =
    blocks === 0
      ? 'nothing to move'
      : `${blocks} blocks (${(bytes / 1024).toFixed(0)} KiB) in ${transferMs.toFixed(2)} ms by ${by}`;
  return (
    `${promptTokens} prompt tokens from worker ${prefillWorker}: ${cachedTokens} cached here, ${moved}, ` +
    `handoff ${handoffMs.toFixed(2)} ms`
  );
}
