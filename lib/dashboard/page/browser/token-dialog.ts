import type { Session, TokenState } from './api.js';
import { FormDialog } from './dialog.js';
import { byId, setAttribute, setText } from './dom.js';

const LABELS: Readonly<Record<TokenState, string>> = {
  absent: 'Enter token',
  unknown: 'Token',
  accepted: 'Token accepted',
  refused: 'Wrong token',
};

/** Why an action is not possible with a token in this state, or undefined. */
export const TOKEN_REFUSALS: Readonly<Record<TokenState, string | undefined>> = {
  absent: 'Read only: this needs the token',
  unknown: undefined,
  accepted: undefined,
  refused: 'Read only: the token is wrong',
};

/** The button with the state of the token, and the dialog in which another one is entered. */
export function tokenDialog(session: Session): void {
  const input = byId<HTMLInputElement>('token-input');
  const button = byId('token-open');
  const dialog = new FormDialog('token-dialog', 'token-message', async (message) => {
    const token = input.value.trim();
    if (token === '') {
      setText(message, 'Enter a token.');
      return false;
    }
    const state = await session.use(token);
    if (state === 'refused') setText(message, 'The server refuses this token.');
    if (state === 'unknown') setText(message, 'The server does not answer.');
    if (state === 'accepted') input.value = '';
    return state === 'accepted';
  });
  button.addEventListener('click', () => {
    dialog.say('');
    dialog.open(input);
  });
  session.onState((state) => {
    setText(button, LABELS[state]);
    setAttribute(button, 'data-state', state);
  });
}
