import { byId, setText } from './dom.js';

/**
 * A dialog of `index.html` with a form. It closes when `submit` resolves with true; its submit button is disabled until
 * then. Escape, and buttons with the attribute `data-close`, close it without an effect.
 */
export class FormDialog {
  readonly #dialog: HTMLDialogElement;
  readonly #message: HTMLElement;

  constructor(id: string, messageId: string, submit: (message: HTMLElement) => Promise<boolean>) {
    this.#dialog = byId<HTMLDialogElement>(id);
    this.#message = byId(messageId);
    const button = this.#dialog.querySelector<HTMLButtonElement>('button[type="submit"]')!;
    this.#dialog.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      try {
        if (await submit(this.#message)) this.#dialog.close();
      } finally {
        button.disabled = false;
      }
    });
    for (const close of this.#dialog.querySelectorAll('[data-close]')) {
      close.addEventListener('click', () => this.#dialog.close());
    }
  }

  /** Shows it, with the focus on a field. The browser returns the focus when it closes. */
  open(field: HTMLElement): void {
    this.#dialog.showModal();
    field.focus();
  }

  /** Shows a message, for screen readers too. */
  say(text: string): void {
    setText(this.#message, text);
  }
}
