import { type OptionTable, optionTable } from '../options.js';
import type { Command } from './command.js';

/** The shells for which `dynamo completion` writes a script. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

type NoOptions = Record<never, never>;

const OPTIONS: OptionTable<NoOptions> = optionTable<NoOptions>({});

/** The command `completion`, for the commands that the function returns. */
export const completionCommand = (commands: () => readonly Command[]): Command<NoOptions> => ({
  name: 'completion',
  summary: 'Write a script that completes commands and flags in a shell.',
  usage: '<shell>',
  description: `The shell is one of ${SHELLS.join(', ')}.`,
  options: OPTIONS,
  examples: [
    'completion bash > ~/.local/share/bash-completion/completions/dynamo',
    'completion zsh > ~/.zfunc/_dynamo',
    'completion fish > ~/.config/fish/completions/dynamo.fish',
  ],
  load: async () => (await import('./completion-action.js')).completionAction(commands()),
});
