import type { DashboardSnapshot } from '../../view.js';
import type { Connection, ConnectionState } from './connection.js';
import { byId, html, Keyed, setAttribute, setText } from './dom.js';
import { formatByteRate, formatMs, formatRate, formatShare, formatWhole } from './format.js';

const STATES: Readonly<Record<ConnectionState, string>> = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Connection lost, reconnecting',
  ended: 'Ended',
};

/** Data that are older than this are marked. */
const STALE_MS = 3000;

type Figure = readonly [title: string, textOf: (snapshot: DashboardSnapshot) => string];

/** How many of the instances are ready. */
function readyText({ services }: DashboardSnapshot): string {
  const all = services.reduce((sum, { instances }) => sum + instances.length, 0);
  const ready = services.reduce((sum, service) => sum + service.ready, 0);
  return `${ready} of ${all}`;
}

const FIGURES: readonly Figure[] = [
  ['Ready', readyText],
  ['Requests', ({ flow }) => formatRate(flow.requestsPerSecond)],
  ['Running', ({ flow }) => formatWhole(flow.running)],
  ['Queued', ({ flow }) => formatWhole(flow.queued)],
  ['Tokens in', ({ flow }) => formatRate(flow.inputTokensPerSecond)],
  ['Tokens out', ({ flow }) => formatRate(flow.outputTokensPerSecond)],
  ['TTFT p50', ({ ttft }) => formatMs(ttft?.p50Ms ?? ttft?.meanMs)],
  ['ITL p50', ({ itl }) => formatMs(itl?.p50Ms ?? itl?.meanMs)],
  ['KV usage', ({ kv }) => formatShare(kv.usage)],
  ['Hit rate', ({ kv }) => formatShare(kv.hitRate)],
  ['Transfers', ({ point }) => formatByteRate(point.values.transferBytesPerSecond)],
];

/** The bar on top, the figures of the whole graph, and the warnings. */
export class HeaderPanel {
  readonly #values: readonly HTMLElement[];
  readonly #warnings: Keyed<string, HTMLLIElement>;

  constructor() {
    this.#values = FIGURES.map(() => html('dd', {}, '–'));
    byId('figures').append(
      ...FIGURES.map(([title], index) => html('div', {}, html('dt', {}, title), this.#values[index]!)),
    );
    this.#warnings = new Keyed(byId('warnings'), () => html('li'), setText);
  }

  render(snapshot: DashboardSnapshot): void {
    const { graph, warnings } = snapshot;
    setText(byId('graph-name'), graph.name);
    setText(byId('graph-phase'), graph.phase);
    setAttribute(byId('graph-phase'), 'data-phase', graph.phase);
    if (document.title !== `${graph.name} · Dynamo`) document.title = `${graph.name} · Dynamo`;
    FIGURES.forEach(([, textOf], index) => setText(this.#values[index]!, textOf(snapshot)));
    this.#warnings.show([...new Set(warnings)], (text) => text);
    byId('warnings').hidden = warnings.length === 0;
  }

  /** Shows the state of the connection. Screen readers hear changes of the state, not the age. */
  showConnection(state: ConnectionState): void {
    setText(byId('connection-state'), STATES[state]);
    setAttribute(byId('connection'), 'data-state', state);
    byId('reconnect').hidden = state !== 'ended';
  }

  /** Shows how old the data are, and marks the page if they are too old. */
  showAge(connection: Connection): void {
    const { ageMs } = connection;
    const isStale = ageMs !== undefined && ageMs > STALE_MS;
    setText(byId('connection-age'), ageMs === undefined ? '' : `data ${Math.floor(ageMs / 1000)} s old`);
    document.body.classList.toggle('stale', isStale);
  }
}
