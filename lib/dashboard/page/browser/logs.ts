import type { DashboardSnapshot } from '../../view.js';
import { failureText, type LogItem, type Session } from './api.js';
import { byId, html, setAttribute, setText } from './dom.js';
import { formatBytes, formatNoun, formatTime } from './format.js';

const TAIL = 200;
const MAX_LINES = 2000;
/** While it is paused, this many of the newest lines are kept. */
const MAX_HELD = 2000;
const RETRY_MS = 2000;

/** The log of one instance: its last lines, and those that follow. */
export class LogsPanel {
  readonly #session: Session;
  readonly #select = byId<HTMLSelectElement>('logs-instance');
  readonly #pause = byId<HTMLButtonElement>('logs-pause');
  readonly #follow = byId<HTMLInputElement>('logs-follow');
  readonly #state = byId('logs-state');
  readonly #lines = byId('logs-lines');
  #names = '';
  #reading = new AbortController();
  #held: LogItem[] = [];
  #isPaused = false;

  constructor(session: Session) {
    this.#session = session;
    // It scrolls, so it must be reachable by keyboard.
    setAttribute(this.#lines, 'tabindex', 0);
    this.#select.addEventListener('change', () => this.#read());
    this.#pause.addEventListener('click', () => this.#setPaused(!this.#isPaused));
    this.#follow.addEventListener('change', () => this.#toEnd());
  }

  render({ services, actions }: DashboardSnapshot): void {
    const names = services.flatMap(({ instances }) => instances.flatMap(({ id, hasLog }) => (hasLog ? [id] : [])));
    const key = JSON.stringify([names, actions.logs]);
    if (key === this.#names) return;
    this.#names = key;
    const chosen = this.#select.value;
    // The log of an instance that has left stays until another one is chosen.
    const options = chosen === '' || names.includes(chosen) ? names : [...names, chosen];
    this.#select.replaceChildren(
      html('option', { value: '' }, actions.logs ? 'Choose one' : 'No logs here'),
      ...options.map((name) => html('option', { value: name }, name)),
    );
    this.#select.value = chosen;
  }

  /** Shows the log of an instance and moves the focus there. */
  show(instance: string): void {
    this.#select.value = instance;
    this.#read();
    byId('logs').scrollIntoView({ block: 'nearest' });
    this.#select.focus({ preventScroll: true });
  }

  /** Reads again if it could not be read before. */
  refresh(): void {
    if (this.#select.value !== '' && this.#session.state === 'accepted' && this.#reading.signal.aborted) this.#read();
  }

  async #read(): Promise<void> {
    this.#reading.abort();
    const reading = new AbortController();
    this.#reading = reading;
    const { signal } = reading;
    const instance = this.#select.value;
    this.#held = [];
    this.#lines.replaceChildren();
    this.#setPaused(false);
    this.#pause.disabled = instance === '';
    setText(this.#state, instance === '' ? '' : 'Reading…');
    if (instance === '') return;
    try {
      for await (const items of this.#session.logs(instance, TAIL, signal)) {
        if (signal.aborted) return;
        if (this.#isPaused) this.#hold(items);
        else this.#append(items);
      }
      setText(this.#state, 'The log has ended.');
    } catch (error) {
      if (signal.aborted) return;
      setText(this.#state, this.#session.mayAct ? failureText(error) : 'Logs need the token.');
      if (error instanceof TypeError) setTimeout(() => !signal.aborted && this.#read(), RETRY_MS);
      else reading.abort();
    }
  }

  #append(items: readonly LogItem[]): void {
    const last = items.slice(-MAX_LINES);
    this.#lines.append(...last.map(lineElement));
    const surplus = this.#lines.childElementCount - MAX_LINES;
    for (let index = 0; index < surplus; index++) this.#lines.firstElementChild!.remove();
    setText(this.#state, this.#lines.childElementCount === 0 ? 'No lines yet' : '');
    this.#toEnd();
  }

  #hold(items: readonly LogItem[]): void {
    this.#held = [...this.#held, ...items].slice(-MAX_HELD);
    setText(this.#state, `Paused; ${formatNoun(this.#held.length, 'new line')}`);
  }

  #setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    setText(this.#pause, isPaused ? 'Continue' : 'Pause');
    setAttribute(this.#pause, 'aria-pressed', String(isPaused));
    if (isPaused) setText(this.#state, 'Paused');
    else if (this.#held.length > 0) this.#append(this.#held.splice(0));
    else setText(this.#state, '');
  }

  #toEnd(): void {
    if (this.#follow.checked) this.#lines.scrollTop = this.#lines.scrollHeight;
  }
}

/** The local time of day with milliseconds, or the text itself if it is no time. */
function timeText(time: string): string {
  const atMs = Date.parse(time);
  return Number.isNaN(atMs) ? time : `${formatTime(atMs)}.${String(atMs % 1000).padStart(3, '0')}`;
}

function lineElement(item: LogItem): HTMLElement {
  if ('skipped' in item) return html('div', { class: 'skipped' }, `${formatBytes(item.skipped)} left out`);
  const level = /\b(?:WARN|WARNING|ERROR|FATAL)\b/.exec(item.text)?.[0];
  const time = html('time', { title: item.time }, timeText(item.time));
  return html('div', { 'data-level': level }, time, ' ', html('span', {}, item.text));
}
