import type { DashboardSnapshot, TraceView } from '../../view.js';
import { failureText, type Session } from './api.js';
import { FormDialog } from './dialog.js';
import { byId, html, setAttribute, setText } from './dom.js';
import { formatMs, formatTime, formatWhole } from './format.js';
import { LiveTable } from './live-table.js';
import { timeline } from './timeline.js';

/** The traced requests, the timeline of the chosen one, and the dialog that sends another one. */
export class TracesPanel {
  readonly #session: Session;
  readonly #table: LiveTable<TraceView>;
  readonly #detail = byId('trace');
  readonly #model = byId<HTMLSelectElement>('trace-model');
  readonly #open = byId<HTMLButtonElement>('trace-open');
  #traces: readonly TraceView[] = [];
  /** The last request of this page, until a snapshot has it: one that was made before the answer may come after it. */
  #sent: TraceView | undefined;
  #chosen: string | undefined;
  #shown: string | undefined;
  #models = '';
  #canTrace = false;

  constructor(session: Session) {
    this.#session = session;
    this.#table = new LiveTable(byId('traces-table'), {
      caption: 'Traced requests',
      keyOf: ({ id }) => id,
      empty: 'No request has been traced. A traced request shows its queue, prefill, transfer and decode.',
      isOneStop: true,
      columns: [
        {
          title: 'Sent',
          create: (cell, { id, atMs }) => {
            const button = html('button', { type: 'button', class: 'link' }, formatTime(atMs));
            button.addEventListener('click', () => this.#choose(id));
            cell.append(button);
          },
          update: (cell, { id }) => setAttribute(cell.firstElementChild!, 'aria-pressed', String(id === this.#chosen)),
        },
        { title: 'Model', text: ({ model }) => model },
        { title: 'In', hint: 'Prompt tokens', isNumber: true, text: ({ inputTokens }) => formatWhole(inputTokens) },
        { title: 'Out', hint: 'Output tokens', isNumber: true, text: ({ outputTokens }) => formatWhole(outputTokens) },
        { title: 'TTFT', isNumber: true, text: ({ ttftMs }) => formatMs(ttftMs), sortBy: ({ ttftMs }) => ttftMs },
        { title: 'Total', isNumber: true, text: ({ totalMs }) => formatMs(totalMs), sortBy: ({ totalMs }) => totalMs },
        {
          title: 'Outcome',
          create: (cell, { outcome }) =>
            cell.append(html('span', { class: 'outcome', 'data-outcome': outcome }, outcome)),
        },
      ],
    });
    const dialog = new FormDialog('trace-dialog', 'trace-message', (message) => this.#send(message));
    this.#open.addEventListener('click', () => {
      dialog.say('');
      dialog.open(byId('trace-prompt'));
    });
  }

  render({ traces, graph, actions }: DashboardSnapshot): void {
    this.#canTrace = actions.trace;
    if (traces.some(({ id }) => id === this.#sent?.id)) this.#sent = undefined;
    this.#traces = this.#sent === undefined ? traces : [...traces, this.#sent];
    if (!this.#traces.some(({ id }) => id === this.#chosen)) this.#chosen = this.#traces.at(-1)?.id;
    this.#showModels(graph.models);
    this.refresh();
    this.#show();
  }

  /** Shows whether a request can be traced now. */
  refresh(): void {
    this.#open.hidden = !this.#canTrace;
    this.#open.disabled = !this.#session.mayAct;
    setAttribute(this.#open, 'title', this.#session.mayAct ? undefined : 'This needs the token');
  }

  #choose(id: string): void {
    this.#chosen = id;
    this.#show();
  }

  #show(): void {
    this.#table.render([...this.#traces].reverse());
    if (this.#chosen === this.#shown) return;
    this.#shown = this.#chosen;
    const trace = this.#traces.find(({ id }) => id === this.#chosen);
    this.#detail.replaceChildren(...(trace === undefined ? [] : timeline(trace)));
  }

  #showModels(models: readonly string[]): void {
    const key = JSON.stringify(models);
    if (key === this.#models) return;
    this.#models = key;
    const chosen = this.#model.value;
    this.#model.replaceChildren(...models.map((model) => html('option', { value: model }, model)));
    if (models.includes(chosen)) this.#model.value = chosen;
  }

  async #send(message: Element): Promise<boolean> {
    setText(message, 'The request runs…');
    const model = this.#model.value;
    try {
      const trace = await this.#session.trace({
        prompt: byId<HTMLTextAreaElement>('trace-prompt').value,
        maxTokens: byId<HTMLInputElement>('trace-tokens').valueAsNumber,
        ...(model === '' ? {} : { model }),
      });
      if (!this.#traces.some(({ id }) => id === trace.id)) {
        this.#sent = trace;
        this.#traces = [...this.#traces, trace];
      }
      this.#choose(trace.id);
      return true;
    } catch (error) {
      setText(message, failureText(error));
      return false;
    }
  }
}
