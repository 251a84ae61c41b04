import type { ServiceView } from '../../view.js';
import { failureText, type Session } from './api.js';
import { FormDialog } from './dialog.js';
import { byId, setText } from './dom.js';
import { formatNoun } from './format.js';

const MAX_WORKERS = 1024;

/** Asks for another number of workers of a service, and says what will happen before it does. */
export class ScaleDialog {
  readonly #input = byId<HTMLInputElement>('scale-input');
  readonly #submit = byId<HTMLButtonElement>('scale-submit');
  readonly #dialog: FormDialog;
  readonly #session: Session;
  readonly #onDone: (text: string) => void;
  #service = '';
  #present = 0;

  /** @param onDone called with what happens, in words */
  constructor(session: Session, onDone: (text: string) => void) {
    this.#session = session;
    this.#onDone = onDone;
    this.#dialog = new FormDialog('scale-dialog', 'scale-message', (message) => this.#send(message));
    this.#input.addEventListener('input', () => this.#show());
    byId('scale-less').addEventListener('click', () => this.#step(-1));
    byId('scale-more').addEventListener('click', () => this.#step(1));
  }

  open({ name, desired, instances }: ServiceView): void {
    this.#service = name;
    this.#present = desired ?? instances.length;
    this.#input.value = String(this.#present);
    setText(byId('scale-title'), `Scale ${name}`);
    setText(byId('scale-text'), `It is set to ${formatNoun(this.#present, 'worker')}. Set it to:`);
    this.#show();
    this.#dialog.open(this.#input);
    this.#input.select();
  }

  get #wanted(): number {
    return this.#input.valueAsNumber;
  }

  #step(change: number): void {
    const from = Number.isInteger(this.#wanted) ? this.#wanted : this.#present;
    this.#input.value = String(Math.min(MAX_WORKERS, Math.max(0, from + change)));
    this.#show();
  }

  #show(): void {
    const change = this.#wanted - this.#present;
    if (!Number.isInteger(change) || !this.#input.checkValidity()) {
      setText(this.#submit, 'Scale');
      this.#dialog.say(`Enter a whole number from 0 to ${MAX_WORKERS}.`);
      return;
    }
    const verb = change < 0 ? 'Remove' : 'Add';
    setText(this.#submit, change === 0 ? 'Keep' : `${verb} ${formatNoun(Math.abs(change), 'worker')}`);
    this.#dialog.say(consequence(this.#service, this.#wanted, change));
  }

  async #send(message: Element): Promise<boolean> {
    const workers = this.#wanted;
    if (workers === this.#present) return true;
    setText(message, 'The server works on it…');
    try {
      const outcome = await this.#session.scale(this.#service, workers);
      const workersText = formatNoun(workers, 'worker');
      this.#onDone(
        outcome === 'done'
          ? `${this.#service} is set to ${workersText}.`
          : `${this.#service} changes to ${workersText}; the graph shows how far it is.`,
      );
      return true;
    } catch (error) {
      setText(message, failureText(error));
      return false;
    }
  }
}

function consequence(service: string, wanted: number, change: number): string {
  if (wanted === 0 && change < 0) return `No worker of ${service} will be left: its requests will fail.`;
  if (change < 0) return 'Removed workers complete their requests first.';
  return change > 0 ? 'The others continue to serve.' : 'Nothing changes.';
}
