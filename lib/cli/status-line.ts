import { Writable } from 'node:stream';
import type { RunState } from '../deploy/local/run-folder.js';
import type { WorkerMetrics } from '../deploy/local/worker-messages.js';
import { clipped } from './output.js';

const CLEAR = '\r\x1b[K';
const MS_PER_SECOND = 1000;

type Counted = 'requests' | 'requestsInFlight' | 'outputTokens' | 'firstTokenSeconds' | 'firstTokens';

/** The sums of all figures at one time. */
export interface Sample extends Pick<WorkerMetrics, Counted> {
  readonly timeMs: number;
}

/** Sums the figures of the entry, which every request of a user passes. */
export function sampleOf({ services }: RunState, timeMs: number): Sample {
  const all = (services.at(-1)?.workers ?? []).flatMap(({ metrics }) => metrics ?? []);
  const sum = (name: Counted): number => all.reduce((total, metrics) => total + metrics[name], 0);
  return {
    timeMs,
    requests: sum('requests'),
    requestsInFlight: sum('requestsInFlight'),
    outputTokens: sum('outputTokens'),
    firstTokenSeconds: sum('firstTokenSeconds'),
    firstTokens: sum('firstTokens'),
  };
}

/** The state of a graph in one line: the ready workers of each service, restarts, and rates between two samples. */
export function statusText({ graph, phase, services }: RunState, before: Sample, now: Sample): string {
  const seconds = Math.max(now.timeMs - before.timeMs, 1) / MS_PER_SECOND;
  const rate = (name: 'requests' | 'outputTokens'): number =>
    Math.round(Math.max(0, now[name] - before[name]) / seconds);
  const workers = services.map(
    ({ name, workers }) => `${name} ${workers.filter((one) => one.phase === 'ready').length}/${workers.length}`,
  );
  const restarts = services.flatMap(({ workers }) => workers).reduce((sum, one) => sum + one.restarts, 0);
  const firstTokens = now.firstTokens - before.firstTokens;
  const firstTokenMs = ((now.firstTokenSeconds - before.firstTokenSeconds) / firstTokens) * MS_PER_SECOND;
  return [
    `${graph} ${phase}`,
    ...workers,
    ...(restarts === 0 ? [] : [`${restarts} restarts`]),
    `${rate('requests')} requests/s`,
    `${now.requestsInFlight} in flight`,
    ...(now.outputTokens === 0 ? [] : [`${rate('outputTokens')} tokens/s`]),
    ...(firstTokens > 0 ? [`TTFT ${Math.round(firstTokenMs)} ms`] : []),
  ].join(' | ');
}

/** Keeps one line below all other output of a terminal. */
export class StatusLine {
  #line = '';

  constructor(
    readonly out: Writable,
    readonly columns: () => number,
  ) {}

  /** A stream for the output above the line. Each text that is written must consist of whole lines. */
  output(): Writable {
    return new Writable({
      write: (chunk: Buffer, _, done) => {
        this.out.write(this.#line === '' ? chunk : `${CLEAR}${chunk.toString()}${this.#line}`, done);
      },
    });
  }

  /** Replaces the line. Without a text it disappears. */
  show(text: string): void {
    this.#line = text === '' ? '' : `\x1b[2m${clipped(text, this.columns() - 1)}\x1b[0m`;
    this.out.write(`${CLEAR}${this.#line}`);
  }
}
