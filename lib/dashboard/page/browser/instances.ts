import type { DashboardSnapshot, InstanceView } from '../../view.js';
import { byId, html, setAttribute, setText } from './dom.js';
import { formatCount, formatMs, formatNoun, formatRate, formatShare, formatWhole, UNKNOWN } from './format.js';
import { type Column, LiveTable } from './live-table.js';
import { phaseLabel, setPhaseLabel } from './phases.js';

/** A share as a bar with its number; the bar is only for the eye. */
function meter(shareOf: (row: InstanceView) => number | undefined): Pick<Column<InstanceView>, 'create' | 'update'> {
  return {
    create: (cell) => {
      cell.append(html('span', { class: 'meter', 'aria-hidden': 'true' }, html('span')), html('span'));
    },
    update: (cell, row) => {
      const share = shareOf(row);
      const width = `${Math.round(Math.min(1, Math.max(0, share ?? 0)) * 100)}%`;
      const bar = cell.firstElementChild!.firstElementChild as HTMLElement;
      if (bar.style.width !== width) bar.style.width = width;
      setAttribute(cell.firstElementChild!, 'data-unknown', share === undefined ? '' : undefined);
      setAttribute(cell.firstElementChild!, 'data-high', share !== undefined && share >= 0.9 ? '' : undefined);
      setText(cell.lastElementChild!, formatShare(share));
    },
  };
}

const blocks = ({ kv: { usedBlocks, totalBlocks } }: InstanceView): string | undefined =>
  usedBlocks === undefined || totalBlocks === undefined ? undefined : `${usedBlocks} of ${totalBlocks} blocks`;

const usage = meter(({ kv }) => kv.usage);

const number = (
  title: string,
  figureOf: (row: InstanceView) => number | undefined,
  format: (value: number | undefined) => string,
  hint?: string,
): Column<InstanceView> => ({
  title,
  isNumber: true,
  text: (row) => format(figureOf(row)),
  sortBy: figureOf,
  ...(hint === undefined ? {} : { hint }),
});

const columnsOf = (onLog: (id: string) => void): readonly Column<InstanceView>[] => [
  { title: 'Instance', text: ({ id }) => id, sortBy: ({ id }) => id },
  { title: 'Service', text: ({ service }) => service, sortBy: ({ service }) => service },
  {
    title: 'Phase',
    sortBy: ({ phase }) => phase,
    create: (cell, { phase }) => cell.append(phaseLabel(phase)),
    update: (cell, { phase, reason }) => setPhaseLabel(cell.firstElementChild!, phase, reason),
  },
  number('Req/s', ({ flow }) => flow.requestsPerSecond, formatRate, 'Requests a second that began'),
  number('Running', ({ flow }) => flow.running, formatWhole, 'Requests that are processed now'),
  number('Queued', ({ flow }) => flow.queued, formatWhole, 'Requests that wait'),
  number('Tok/s', ({ flow }) => flow.outputTokensPerSecond, formatCount, 'Output tokens a second'),
  number('TTFT', ({ lastTtftMs }) => lastTtftMs, formatMs, 'The last time to first token'),
  number('ITL', ({ lastItlMs }) => lastItlMs, formatMs, 'The last inter-token latency'),
  {
    title: 'KV usage',
    isNumber: true,
    hint: 'The share of KV blocks that is used',
    sortBy: ({ kv }) => kv.usage,
    create: usage.create!,
    update: (cell, row) => {
      usage.update!(cell, row);
      setAttribute(cell, 'title', blocks(row));
    },
  },
  {
    title: 'Hit rate',
    isNumber: true,
    hint: 'The share of prompt tokens that were in the cache',
    sortBy: ({ kv }) => kv.hitRate,
    ...meter(({ kv }) => kv.hitRate),
  },
  number('Pass', ({ passMs }) => passMs, formatMs, 'The duration of the last forward pass'),
  number('Restarts', ({ restarts }) => restarts, formatWhole),
  { title: 'GPUs', text: ({ gpus }) => (gpus === undefined || gpus.length === 0 ? UNKNOWN : gpus.join(', ')) },
  number('PID', ({ pid }) => pid, formatWhole),
  {
    title: 'Log',
    create: (cell, { id }) => {
      const button = html('button', { type: 'button', class: 'small', 'aria-label': `Log of ${id}` }, 'Log');
      button.addEventListener('click', () => onLog(id));
      cell.append(button);
    },
    update: (cell, { hasLog }) => {
      (cell.firstElementChild as HTMLButtonElement).hidden = !hasLog;
    },
  },
];

/** Whether an instance has all words of a filter in its name, its service, its phase or its reason. */
export function matchesFilter({ id, service, phase, reason = '' }: InstanceView, filter: string): boolean {
  const text = `${id} ${service} ${phase} ${reason}`.toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** The table of all instances, with a filter. */
export class InstancesPanel {
  readonly #table: LiveTable<InstanceView>;
  readonly #filter = byId<HTMLInputElement>('instances-filter');
  readonly #count = byId('instances-count');
  #all: readonly InstanceView[] = [];

  /** @param onLog called with the instance whose log is wanted */
  constructor(onLog: (id: string) => void) {
    this.#table = new LiveTable(byId('instances-table'), {
      caption: 'Instances',
      columns: columnsOf(onLog),
      keyOf: ({ id }) => id,
      empty: 'No instance matches.',
      isOneStop: true,
    });
    this.#filter.addEventListener('input', () => this.#show());
  }

  render({ services }: DashboardSnapshot): void {
    this.#all = services.flatMap(({ instances }) => instances);
    this.#show();
  }

  /** Shows only the instances of a service. */
  filter(text: string): void {
    this.#filter.value = text;
    this.#show();
    byId('instances').scrollIntoView({ block: 'nearest' });
    this.#filter.focus({ preventScroll: true });
  }

  #show(): void {
    const shown = this.#all.filter((instance) => matchesFilter(instance, this.#filter.value.trim()));
    this.#table.render(shown);
    const all = formatNoun(this.#all.length, 'instance');
    setText(this.#count, shown.length === this.#all.length ? all : `${shown.length} of ${all}`);
  }
}
