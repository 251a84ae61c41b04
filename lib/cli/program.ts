import { Command as Commander, CommanderError, Option as CommanderOption, type Help } from 'commander';
import type { OptionTable } from '../options.js';
import { type Command, type CommandArgs, type CommandIo, EXIT, usageError } from './command.js';
import { cliFailureOf } from './failure.js';
import { flagLine, valuesOf } from './flags.js';
import { print, printFailure } from './output.js';
import { versionLine } from './version.js';

/** A group of commands of two words, such as `deployment`, with its sentence for help. */
export type CommandGroups = Readonly<Record<string, string>>;

/** Text in fewer columns is not wrapped. */
const MIN_WRAPPED = 12;
/** A description in help needs as many columns beside its term. */
const MIN_DESCRIPTION = 32;

const OVERRIDE = /^--[A-Za-z_][\w-]*\./;

/** What is typed, taken apart before commander sees it. */
interface Typed {
  readonly words: readonly string[];
  readonly overrides: readonly string[];
  readonly rest: readonly string[];
}

/**
 * Runs the command that `argv` names, and returns the exit code. Never rejects: an error is written to the standard
 * error of `io`.
 *
 * @param argv the words after `dynamo`
 */
export async function runProgram(
  argv: readonly string[],
  io: CommandIo,
  commands: readonly Command[],
  groups: CommandGroups = {},
): Promise<number> {
  const separator = argv.indexOf('--');
  const json = (separator === -1 ? argv : argv.slice(0, separator)).includes('--json');
  try {
    const command = commandOf(argv, commands);
    const typed = takeApart(argv, command);
    let running: Promise<number> | undefined;
    const program = createProgram(io, commands, groups, (chosen, positionals, values) => {
      running = runCommand(chosen, { ...typed, positionals, json }, values, io);
    });
    program.parse([...typed.words], { from: 'user' });
    return (await running) ?? EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      const group = Object.keys(groups).find((name) => name === argv[0]);
      return explain(error, io, json, commandOf(argv, commands)?.name ?? group);
    }
    const failure = cliFailureOf(error);
    printFailure(io, failure, json);
    if ((io.env['DYNAMO_DEBUG'] ?? '') !== '' && error instanceof Error) io.stderr.write(`${error.stack}\n`);
    return failure.exitCode;
  }
}

/** The command whose words `argv` begins with. */
function commandOf(argv: readonly string[], commands: readonly Command[]): Command | undefined {
  const begins = ({ name }: Command) => name.split(' ').every((word, index) => argv[index] === word);
  return commands.find(begins);
}

/** Separates overrides and the words after `--`, if the command takes them, and completes bare flags. */
function takeApart(argv: readonly string[], command: Command | undefined): Typed {
  const end = command?.takesRest === true && argv.includes('--') ? argv.indexOf('--') : argv.length;
  const bare = Object.entries((command?.bare ?? {}) as Record<string, string>);
  const completed = new Map(bare.map(([name, value]) => [flagLine(name), value]));
  const words: string[] = [];
  const overrides: string[] = [];
  for (let index = 0; index < end; index++) {
    const word = argv[index] as string;
    if (command?.takesOverrides !== true || !OVERRIDE.test(word)) {
      const value = completed.get(word);
      words.push(value === undefined ? word : `${word}=${value}`);
      continue;
    }
    if (word.includes('=')) {
      overrides.push(word);
      continue;
    }
    const value = argv[++index];
    if (value === undefined || index >= end || value.startsWith('-'))
      throw usageError(`${word}: expected a value`, `write ${word}=VALUE`);
    overrides.push(`${word}=${value}`);
  }
  return { words, overrides, rest: argv.slice(end + 1) };
}

type Chosen = (command: Command, positionals: readonly string[], values: Readonly<Record<string, unknown>>) => void;

function createProgram(io: CommandIo, commands: readonly Command[], groups: CommandGroups, choose: Chosen): Commander {
  const program = configured(new Commander('dynamo'), io)
    .description('NVIDIA Dynamo for TypeScript: compose, run, serve, build and deploy graphs of services.')
    .usage('<command> [options]')
    .option('-v, --version', 'show the version')
    .addHelpText('after', '\ndynamo <command> --help explains it.');
  program.on('option:version', () => {
    print(io, versionLine());
    throw new CommanderError(EXIT.ok, 'commander.version', '');
  });
  const parents = new Map<string, Commander>();
  for (const command of commands) {
    const words = command.name.split(' ');
    const name = words.pop() as string;
    const parent = words.length === 0 ? program : groupOf(words.join(' '), program, parents, groups, io);
    parent.addCommand(commanderOf(command, name, io, choose), { hidden: command.hidden === true });
  }
  return program;
}

function groupOf(
  name: string,
  program: Commander,
  parents: Map<string, Commander>,
  groups: CommandGroups,
  io: CommandIo,
): Commander {
  const known = parents.get(name);
  if (known !== undefined) return known;
  const group = configured(new Commander(name), io)
    .description(groups[name] ?? '')
    .usage('<command> [options]');
  parents.set(name, group);
  program.addCommand(group);
  return group;
}

function configured(command: Commander, io: CommandIo): Commander {
  return command
    .exitOverride()
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .configureHelp({ subcommandTerm: (one) => one.name(), minWidthToWrap: MIN_WRAPPED, formatItem })
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      outputError: () => {},
      getOutHelpWidth: () => io.columns,
      getErrHelpWidth: () => io.columns,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
}

/** A row of help: the description beside the term, or below it if too few columns are left. */
function formatItem(term: string, termWidth: number, description: string, help: Help): string {
  const columns = help.helpWidth ?? 80;
  const isBeside = columns - termWidth >= MIN_DESCRIPTION;
  const indent = ' '.repeat(isBeside ? termWidth + 4 : 6);
  const lines = help
    .boxWrap(description, columns - indent.length)
    .split('\n')
    .join(`\n${indent}`);
  return isBeside ? `  ${term.padEnd(termWidth)}  ${lines}` : `  ${term}\n${indent}${lines}`;
}

function commanderOf(command: Command, name: string, io: CommandIo, choose: Chosen): Commander {
  const { summary, description, usage, options, examples = [], takesOverrides, takesRest } = command;
  const overrides = takesOverrides === true ? ' [--Service.key=value...]' : '';
  const rest = takesRest === true ? ' [-- args...]' : '';
  const created = configured(new Commander(name), io)
    .summary(summary)
    .description(description === undefined ? summary : `${summary}\n\n${description}`)
    .usage(`${usage}${usage === '' ? '' : ' '}[options]${overrides}${rest}`)
    .allowExcessArguments(false);
  if (usage !== '') created.arguments(usage);
  const short = (command.short ?? {}) as Readonly<Record<string, string>>;
  for (const option of optionsOf(options, short)) created.addOption(option);
  created.option('--json', 'write one JSON value, for programs');
  if (examples.length > 0)
    created.addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ dynamo ${line}`).join('\n')}`);
  return created.action(() => choose(command, created.args, created.opts()));
}

function optionsOf(table: OptionTable<object>, short: Readonly<Record<string, string>>): CommanderOption[] {
  return table.flags().flatMap(({ flag, name, option }) => {
    const letter = short[name] === undefined ? '' : `-${short[name]}, `;
    const variable = option.variables[0] === undefined ? '' : ` [$${option.variables[0]}]`;
    const about = `${option.summary}${variable}`;
    if (option.kind === 'boolean')
      return [new CommanderOption(`${letter}${flag}`, about), new CommanderOption(`--no-${flag.slice(2)}`).hideHelp()];
    const value = option.kind === 'text' || option.kind === 'list' ? '<text>' : '<n>';
    const choices = /^one of /.test(option.expected) ? ` (${option.expected})` : '';
    const parsed = new CommanderOption(`${letter}${flag} ${value}`, `${about}${choices}`);
    if (option.kind === 'list') parsed.argParser((given: string, before: readonly string[] = []) => [...before, given]);
    return [parsed];
  });
}

async function runCommand(
  command: Command,
  { words: _, ...typed }: Typed & Pick<CommandArgs<object>, 'positionals' | 'json'>,
  values: Readonly<Record<string, unknown>>,
  io: CommandIo,
): Promise<number> {
  // A variable of a shell that is not set. As a path it would be the current folder.
  if (typed.positionals.includes('')) throw usageError(`${command.usage}: expected a word, got ''`);
  const options = valuesOf(command.options, values, io.env);
  const action = await command.load();
  return (await action.run({ ...typed, options }, io)) ?? EXIT.ok;
}

/** A suggestion of commander without the words that are no slip of the keyboard: another beginning is another word. */
function suggestionFor(unknown: string, suggestion = ''): string | undefined {
  const [, words = ''] = /^Did you mean (?:one of )?(.*)\?$/.exec(suggestion) ?? [];
  const bare = (word: string): string => word.replace(/^-+/, '');
  const near = words
    .split(', ')
    .filter((word) => word !== '' && (bare(word)[0] === unknown[0] || bare(word).includes(unknown)));
  if (near.length === 0) return undefined;
  return `Did you mean ${near.length > 1 ? 'one of ' : ''}${near.join(', ')}?`;
}

/** The exit code of what commander ended. Help and version are no errors, unless nothing was asked for. */
function explain({ code, message }: CommanderError, io: CommandIo, json: boolean, name: string | undefined): number {
  if (code === 'commander.helpDisplayed' || code === 'commander.version') return EXIT.ok;
  if (code === 'commander.help') return EXIT.usage;
  const [, text = message, suggestion] =
    /^(?:error: )?([\s\S]*?)(?:\n\((Did you mean [\s\S]*)\))?$/.exec(message) ?? [];
  const [, unknown = ''] = /^unknown \w+ '-*([^']*)'/.exec(text) ?? [];
  const hint = suggestionFor(unknown, suggestion) ?? `see \`dynamo ${name === undefined ? '' : `${name} `}--help\``;
  printFailure(io, cliFailureOf(usageError(text, hint)), json);
  return EXIT.usage;
}
