import { type Command, type CommandAction, type CommandArgs, type CommandIo, usageError } from './command.js';
import { SHELLS } from './completion.js';
import { printJson } from './output.js';

/** What a shell completes: the words after a command or a group, and the flags of a command. */
interface Completion {
  /** Empty for what follows `dynamo`. */
  readonly command: string;
  readonly summary: string;
  readonly words: readonly Word[];
}

interface Word {
  readonly text: string;
  readonly summary: string;
}

const NAMES = ['dynamo', 'dynamo-node'];

const BUILT_IN: readonly Word[] = [
  { text: '--json', summary: 'Write one JSON value.' },
  { text: '--help', summary: 'Show help.' },
];

/** The words of `dynamo run` that are no flags. */
const RUN_WORDS: readonly Word[] = [
  ...['text', 'stdin', 'http', 'batch:', 'dyn://', 'none'].map((name) => ({ text: `in=${name}`, summary: 'Input.' })),
  ...['echo', 'mocker', 'js:', 'vllm', 'sglang', 'trtllm', 'dyn'].map((name) => ({
    text: `out=${name}`,
    summary: 'Engine.',
  })),
];

function flagsOf({ options }: Command): Word[] {
  const own = options.flags().map(({ flag, option }) => ({ text: flag, summary: option.summary }));
  return [...own, ...BUILT_IN];
}

/** What can follow each command and each group. */
export function completionsOf(commands: readonly Command[]): Completion[] {
  const visible = commands.filter(({ hidden }) => hidden !== true);
  const first = new Map<string, Word>();
  const groups = new Map<string, Word[]>();
  for (const { name, summary } of visible) {
    const [head, ...rest] = name.split(' ') as [string, ...string[]];
    first.set(head, { text: head, summary: rest.length === 0 ? summary : `Commands of ${head}.` });
    if (rest.length > 0) groups.set(head, [...(groups.get(head) ?? []), { text: rest.join(' '), summary }]);
  }
  const version = { text: '--version', summary: 'Show the version.' };
  const extra: Readonly<Record<string, readonly Word[]>> = {
    run: RUN_WORDS,
    completion: SHELLS.map((text) => ({ text, summary: 'Shell.' })),
  };
  return [
    { command: '', summary: '', words: [...first.values(), version, ...BUILT_IN.slice(1)] },
    ...[...groups].map(([command, words]) => ({ command, summary: '', words })),
    ...visible.map((command) => ({
      command: command.name,
      summary: command.summary,
      words: [...(extra[command.name] ?? []), ...flagsOf(command)],
    })),
  ];
}

const texts = (words: readonly Word[]): string => words.map(({ text }) => text).join(' ');

function bash(completions: readonly Completion[]): string {
  const cases = completions
    .filter(({ command }) => command !== '')
    .sort((a, b) => b.command.length - a.command.length)
    .map(({ command, words }) => {
      const pattern = command.includes(' ') ? `"${command}"*` : `"${command} "*`;
      return `    ${pattern}) known="${texts(words)}" ;;`;
    });
  return `_dynamo() {
  local line="\${COMP_LINE:0:COMP_POINT}" current known first second
  current="\${line##* }"
  line="\${line% *}"
  read -r _ first second _ <<< "$line"
  case "$first $second" in
${cases.join('\n')}
    *) known="${texts(completions[0]?.words ?? [])}" ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$known" -- "$current")
  # Readline takes = and : as the start of a word.
  local prefix="\${current%"\${current##*[=:]}"}"
  COMPREPLY=("\${COMPREPLY[@]#"$prefix"}")
  [[ \${#COMPREPLY[@]} -eq 0 ]] && mapfile -t COMPREPLY < <(compgen -f -- "\${current##*[=:]}")
  [[ "\${COMPREPLY[0]-}" == *[:/=] ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -o filenames -F _dynamo ${NAMES.join(' ')}
`;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function zsh(completions: readonly Completion[]): string {
  const listed = (words: readonly Word[]): string =>
    words.map(({ text, summary }) => quoted(`${text.replaceAll(':', '\\:')}:${summary}`)).join(' ');
  const cases = completions
    .filter(({ command }) => command !== '')
    .sort((a, b) => b.command.length - a.command.length)
    .map(({ command, words }) => `    ${quoted(`${command} `)}*) known=(${listed(words)}) ;;`);
  return `#compdef ${NAMES.join(' ')}
_dynamo() {
  local -a known
  local typed="\${(j: :)words[2,CURRENT-1]} "
  case "$typed" in
${cases.join('\n')}
    *) known=(${listed(completions[0]?.words ?? [])}) ;;
  esac
  _describe 'word' known || _files
}
[[ "\${zsh_eval_context[-1]}" == loadautofunc ]] && _dynamo "$@" || compdef _dynamo ${NAMES.join(' ')}
`;
}

function fish(completions: readonly Completion[]): string {
  const lines = completions.flatMap(({ command, words }) => {
    const names = command.split(' ');
    const condition =
      command === ''
        ? '__fish_use_subcommand'
        : names.length === 1
          ? `__fish_seen_subcommand_from ${command}`
          : `__fish_seen_subcommand_from ${names[0]}; and __fish_seen_subcommand_from ${names[1]}`;
    return words.map(({ text, summary }) => {
      const word = text.startsWith('--') ? `-l ${text.slice(2)}` : `-a ${quoted(text)}`;
      return `-n ${quoted(condition)} ${word} -d ${quoted(summary)}`;
    });
  });
  return `${NAMES.flatMap((name) => lines.map((line) => `complete -c ${name} ${line}`)).join('\n')}\n`;
}

const SCRIPTS: { readonly [Shell in (typeof SHELLS)[number]]: (completions: readonly Completion[]) => string } = {
  bash,
  zsh,
  fish,
};

/** The code of `dynamo completion`: writes the script of a shell. */
export const completionAction = (commands: readonly Command[]): CommandAction => ({
  async run({ positionals, json }: CommandArgs<object>, io: CommandIo) {
    const [name] = positionals;
    const shell = SHELLS.find((one) => one === name);
    if (shell === undefined) throw usageError(`expected a shell of ${SHELLS.join(', ')}, got '${name}'`);
    const script = SCRIPTS[shell](completionsOf(commands));
    if (json) printJson(io, { shell, script });
    else io.stdout.write(script);
  },
});
