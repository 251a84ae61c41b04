import type { DashboardSnapshot, DecisionView } from '../../view.js';
import { byId, html } from './dom.js';
import { formatTime } from './format.js';
import { LiveTable } from './live-table.js';

const MAX_SHOWN = 100;

const poolText = ({ role, desired, target }: DecisionView['pools'][number]): string =>
  desired === target ? `${role} ${target}` : `${role} ${desired} → ${target}`;

/** The decisions of the planner with their reasons, latest first. */
export class DecisionsPanel {
  readonly #onlyChanges = byId<HTMLInputElement>('planner-changes');
  readonly #table: LiveTable<DecisionView>;
  #decisions: readonly DecisionView[] = [];

  constructor() {
    this.#table = new LiveTable(byId('planner-table'), {
      caption: 'Decisions of the planner',
      keyOf: ({ tick, atMs }) => `${tick} ${atMs}`,
      empty: 'No decision yet. A graph with a planner shows why it scales.',
      columns: [
        { title: 'Time', text: ({ atMs }) => formatTime(atMs) },
        {
          title: 'Outcome',
          create: (cell, { outcome }) =>
            cell.append(html('span', { class: 'outcome', 'data-outcome': outcome }, outcome)),
        },
        { title: 'Workers', create: (cell, { pools }) => cell.append(list(pools.map(poolText))) },
        { title: 'Reasons', create: (cell, decision) => cell.append(reasonList(decision)) },
      ],
    });
    this.#onlyChanges.addEventListener('change', () => this.#show());
  }

  render({ decisions }: DashboardSnapshot): void {
    this.#decisions = decisions;
    this.#show();
  }

  #show(): void {
    const wanted = this.#onlyChanges.checked
      ? this.#decisions.filter(({ outcome }) => outcome !== 'unchanged')
      : this.#decisions;
    this.#table.render(wanted.slice(-MAX_SHOWN).reverse());
  }
}

const list = (texts: readonly string[]): HTMLUListElement =>
  html('ul', {}, ...texts.map((text) => html('li', {}, text)));

function reasonList({ reasons, errors, pools }: DecisionView): HTMLUListElement {
  const items = reasons.map(({ role, code, text }) => {
    const prefix = pools.length > 1 ? `${role}: ` : '';
    return html('li', {}, html('span', { class: 'code' }, code), ` ${prefix}${text}`);
  });
  const failures = errors.map((text) => html('li', { class: 'error' }, text));
  return html('ul', {}, ...items, ...failures);
}
