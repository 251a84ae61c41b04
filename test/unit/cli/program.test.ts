import { describe, expect, it } from 'vitest';
import { CliError, type Command, type CommandArgs, usageError } from '../../../lib/cli/command.js';
import { COMMANDS } from '../../../lib/cli/commands.js';
import { CRATES, packageVersion } from '../../../lib/cli/version.js';
import { boolean, integer, listOf, oneOf, optionTable, text } from '../../../lib/options.js';
import { runCommand } from '../../helpers/cli/command.js';

interface Options {
  readonly name?: string;
  readonly maxItems?: number;
  readonly isDry?: boolean;
  readonly tags?: readonly string[];
  readonly dryRun?: 'none' | 'client' | 'server';
}

const OPTIONS = optionTable<Options>({
  name: text.env('TEST_NAME').about('A name.'),
  maxItems: integer(1, 9).env('TEST_MAX', 'TEST_MAXIMUM').about('A number.'),
  isDry: boolean.env('TEST_DRY').about('A switch.'),
  tags: listOf(text, 'tags').env('TEST_TAGS').about('Some tags.'),
  dryRun: oneOf('none', 'client', 'server').about('How dry.'),
});

/** Shows what a command gets. */
const show = (more: Partial<Command<Options>> = {}): Command<Options> => ({
  name: 'show',
  summary: 'Show what came.',
  usage: '<first> [others...]',
  options: OPTIONS,
  load: async () => ({
    async run(args: CommandArgs<Options>, io) {
      io.stdout.write(JSON.stringify(args));
    },
  }),
  ...more,
});

async function received(args: string[], more: Partial<Command<Options>> = {}, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await runCommand(['show', ...args], { commands: [show(more)], env });
  if (code !== 0) throw new Error(`${code} ${stderr}`);
  return JSON.parse(stdout) as CommandArgs<Options>;
}

async function refused(args: string[], more: Partial<Command<Options>> = {}, env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await runCommand(['show', ...args], { commands: [show(more)], env });
  expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
  return stderr;
}

const fails = (error: unknown): Command => ({
  name: 'fail',
  summary: 'Fail.',
  usage: '',
  options: optionTable<object>({}),
  load: async () => ({ run: () => Promise.reject(error) }),
});

describe('dynamo', () => {
  it('lists its commands with --help', async () => {
    const { code, stdout, stderr } = await runCommand(['--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const { name, summary, hidden } of COMMANDS) {
      if (hidden === true || name.includes(' ')) continue;
      expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'));
      expect(stdout.replace(/\s+/g, ' ')).toContain(summary);
    }
  });

  it('prints help and returns 64 without a command', async () => {
    const { code, stdout, stderr } = await runCommand([]);
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
    expect(stderr).toContain('Usage: dynamo <command>');
  });

  it.each([40, 80])('wraps help of every command at %d columns', async (columns) => {
    for (const args of [[], ...COMMANDS.map(({ name }) => name.split(' '))]) {
      const { code, stdout } = await runCommand([...args, '--help'], { columns, isTerminal: true });
      expect(code).toBe(0);
      const [usage, ...lines] = stdout.split('\nExamples:')[0]!.split('\n');
      expect(usage).toMatch(/^Usage: dynamo/);
      // One long word is not divided.
      const wide = lines.filter((line) => line.length > columns && line.trim().includes(' '));
      expect({ args, wide }).toEqual({ args, wide: [] });
    }
  });

  it.each(['--version', '-v'])('says its version and the crates that it binds with %s', async (flag) => {
    const { code, stdout } = await runCommand([flag]);
    expect(code).toBe(0);
    expect(stdout).toBe(
      `dynamo-node ${packageVersion()} (binds ${Object.entries(CRATES)
        .map(([name, version]) => `${name} ${version}`)
        .join(', ')})\n`,
    );
  });

  it('rejects an unknown command with a suggestion', async () => {
    expect(await runCommand(['gaph'])).toEqual({
      code: 64,
      stdout: '',
      stderr: "error[E_USAGE]: unknown command 'gaph'\n  hint: Did you mean graph?\n",
    });
  });

  it('suggests no command that has another beginning', async () => {
    expect((await runCommand(['bogus'])).stderr).toBe(
      "error[E_USAGE]: unknown command 'bogus'\n  hint: see `dynamo --help`\n",
    );
    expect((await runCommand(['graph', '--mermiad'])).stderr).toContain('hint: Did you mean --mermaid?');
  });

  it('writes an error as JSON with --json', async () => {
    const { code, stdout, stderr } = await runCommand(['gaph', '--json']);
    expect({ code, stdout }).toEqual({ code: 64, stdout: '' });
    expect(JSON.parse(stderr)).toEqual({
      code: 'E_USAGE',
      message: "unknown command 'gaph'",
      hint: 'Did you mean graph?',
    });
  });

  it('rejects a group without a command with its help', async () => {
    const { code, stderr } = await runCommand(['deployment']);
    expect(code).toBe(64);
    expect(stderr).toContain('Usage: dynamo deployment <command>');
    expect((await runCommand(['deployment', 'xyz'])).stderr).toBe(
      "error[E_USAGE]: unknown command 'xyz'\n  hint: see `dynamo deployment --help`\n",
    );
  });
});

describe('a command', () => {
  it('gets words and flags of every kind', async () => {
    const args = ['a', '--name', 'x', 'b', '--max-items=3', '--is-dry', '--tags', 't', '--tags', 'u', '--json'];
    expect(await received(args)).toEqual({
      positionals: ['a', 'b'],
      options: { name: 'x', maxItems: 3, isDry: true, tags: ['t', 'u'] },
      overrides: [],
      rest: [],
      json: true,
    });
  });

  it('gets false for a flag with --no-', async () => {
    expect((await received(['a', '--no-is-dry'], {}, { TEST_DRY: '1' })).options).toEqual({ isDry: false });
  });

  it('gets short flags', async () => {
    expect((await received(['a', '-n', 'x'], { short: { name: 'n' } })).options).toEqual({ name: 'x' });
  });

  it('gets the values of variables for flags that are absent', async () => {
    const env = { TEST_NAME: 'y', TEST_MAX: '', TEST_MAXIMUM: '4', TEST_DRY: 'on', TEST_TAGS: 't,u' };
    expect((await received(['a', '--name', 'x'], {}, env)).options).toEqual({
      name: 'x',
      maxItems: 4,
      isDry: true,
      tags: ['t', 'u'],
    });
  });

  it('gets the meaning of a flag without a value, and no word as its value', async () => {
    const more = { bare: { dryRun: 'client' } };
    expect(await received(['--dry-run', 'a'], more)).toMatchObject({
      positionals: ['a'],
      options: { dryRun: 'client' },
    });
    expect(await received(['a', '--dry-run=server'], more)).toMatchObject({ options: { dryRun: 'server' } });
  });

  it('gets overrides of services in both forms if it takes them', async () => {
    const args = ['a', '--Worker.block-size=64', '--Worker.ServiceArgs.workers', '2', 'b'];
    expect(await received(args, { takesOverrides: true })).toMatchObject({
      positionals: ['a', 'b'],
      overrides: ['--Worker.block-size=64', '--Worker.ServiceArgs.workers=2'],
    });
    expect(await refused(args)).toContain("unknown option '--Worker.block-size=64'");
  });

  it.each([[['a', '--Worker.key']], [['a', '--Worker.key', '--json']]])(
    'rejects an override without a value: %j',
    async (args) => {
      expect(await refused(args, { takesOverrides: true })).toContain('--Worker.key: expected a value');
    },
  );

  it('gets the words after -- if it takes them', async () => {
    expect(await received(['a', '--', '--max-items', 'x', '--json'], { takesRest: true })).toMatchObject({
      positionals: ['a'],
      rest: ['--max-items', 'x', '--json'],
      json: false,
    });
    expect(await received(['a', '--', '--b'])).toMatchObject({ positionals: ['a', '--b'], rest: [] });
  });

  it.each([
    [['a', '--max-items', '0'], {}, '--max-items: expected an integer from 1 to 9, got 0'],
    [['a', '--max-items', 'many'], {}, '--max-items: expected an integer, got "many"'],
    [['a'], { TEST_MAXIMUM: 'many' }, '$TEST_MAXIMUM: expected an integer, got "many"'],
    [['a'], { TEST_DRY: 'perhaps' }, '$TEST_DRY: expected a boolean, got "perhaps"'],
    [['a', '--dry-run', 'wet'], {}, '--dry-run: expected one of none, client, server, got "wet"'],
    [['a', '--max-items'], {}, "option '--max-items <n>' argument missing"],
    [['a', '--max-item', '3'], {}, "unknown option '--max-item'\n  hint: Did you mean --max-items?"],
    [[], {}, "missing required argument 'first'\n  hint: see `dynamo show --help`"],
  ])('rejects %j with variables %j', async (args, env, message) => {
    expect(await refused(args, {}, env)).toContain(`error[E_USAGE]: ${message}`);
  });

  it('rejects an empty word, which would be the current folder as a path', async () => {
    expect(await refused([''])).toBe("error[E_USAGE]: <first> [others...]: expected a word, got ''\n");
    expect(await refused(['a', ''])).toContain("expected a word, got ''");
  });

  it('rejects more words than it has', async () => {
    expect(await refused(['a', 'b'], { usage: '<first>' })).toContain('too many arguments');
  });

  it('returns the exit code of its code', async () => {
    const commands = [{ ...fails(undefined), load: async () => ({ run: async () => 2 }) }];
    expect((await runCommand(['fail'], { commands })).code).toBe(2);
  });

  it('shows a failure with its path and its hint', async () => {
    const error = new CliError('E_TEST', 'it is broken', { exitCode: 65, hint: 'mend it', path: 'a.yaml:3:1' });
    expect(await runCommand(['fail'], { commands: [fails(error)] })).toEqual({
      code: 65,
      stdout: '',
      stderr: 'error[E_TEST]: it is broken\n  at: a.yaml:3:1\n  hint: mend it\n',
    });
    const { stderr } = await runCommand(['fail', '--json'], { commands: [fails(error)] });
    expect(JSON.parse(stderr)).toEqual({
      code: 'E_TEST',
      message: 'it is broken',
      hint: 'mend it',
      path: 'a.yaml:3:1',
    });
  });

  it('shows the stack of an error with $DYNAMO_DEBUG only', async () => {
    const commands = [fails(new Error('a bug'))];
    const { code, stderr } = await runCommand(['fail'], { commands });
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'error[E_FAILED]: a bug\n' });
    expect((await runCommand(['fail'], { commands, env: { DYNAMO_DEBUG: '1' } })).stderr).toContain('program.test.ts:');
  });

  it('shows a thrown value that is no error', async () => {
    expect((await runCommand(['fail'], { commands: [fails('odd')] })).stderr).toBe('error[E_FAILED]: odd\n');
  });

  it('has a usage error of exit code 64', () => {
    expect(usageError('wrong', 'right')).toMatchObject({ code: 'E_USAGE', exitCode: 64, hint: 'right' });
  });
});
