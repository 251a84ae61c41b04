import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { findContainment } from '../deploy/local/containment.js';
import { discoveryVariables } from '../deploy/local/discovery-settings.js';
import { flagOf } from '../options.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { ENGINE_FLAGS, type EngineArguments, engineArguments, type PythonEngine } from '../sdk/python-engines.js';
import { CliError, type CommandIo, EXIT, usageError } from './command.js';
import { readJsonObject } from './json-file.js';
import { note, styled } from './output.js';
import type { RunOptions } from './run.js';

/** What a Python engine is started with. */
export interface PythonRequest {
  readonly model: string;
  readonly modelName: string;
  readonly options: RunOptions;
  readonly endpoint: string;
  readonly rest: readonly string[];
  readonly runtime: RuntimeOptions;
  readonly io: CommandIo;
}

const TAIL_LINES = 20;
const CLOSE_TIMEOUT_MS = 30_000;

/**
 * The arguments of `python`, for one engine.
 *
 * @throws CliError `E_USAGE` for an option that the engine does not have
 */
export function pythonArgs(
  engine: PythonEngine,
  { model, modelName, options, endpoint, rest, io }: Omit<PythonRequest, 'runtime'>,
): string[] {
  const { model: modelFlag, extra } = ENGINE_FLAGS[engine];
  const words: string[] = [];
  if (options.extraEngineArgs !== undefined) {
    const values = readJsonObject(options.extraEngineArgs, io.cwd);
    if (extra !== undefined) words.push(extra, options.extraEngineArgs);
    else words.push(...Object.entries(values).flatMap(([name, value]) => flagsOf(name, value)));
  }
  return [
    ...[
      '-m',
      `dynamo.${engine}`,
      modelFlag,
      model,
      '--served-model-name',
      modelName,
      '--endpoint',
      `dyn://${endpoint}`,
    ],
    ...engineArguments(engine, { ...(options as Omit<EngineArguments, 'rest'>), rest: [...words, ...rest] }),
  ];
}

function flagsOf(name: string, value: unknown): string[] {
  const flag = `--${name.replaceAll('_', '-')}`;
  if (value === true) return [flag];
  if (value === false || value === null) return [];
  return [flag, typeof value === 'object' ? JSON.stringify(value) : String(value)];
}

/** A Python process with an engine of Dynamo. */
export class PythonWorker {
  /** Rejects with the end of its log if it ends without a `close`. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #isClosing = false;
  #isQuiet = false;

  private constructor(engine: PythonEngine, child: ChildProcess, io: CommandIo) {
    this.#child = child;
    const tail: string[] = [];
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => {
        if (tail.push(line) > TAIL_LINES) tail.shift();
        if (!this.#isQuiet) note(io, `${styled(io, 'dim', `[${engine}]`)} ${line}`);
      });
    this.ended = once(child, 'close').then(([code, signal]) => {
      if (this.#isClosing) return;
      throw new CliError('E_ENGINE_FAILED', `${engine} ended (${signal ?? `code ${code}`})\n${tail.join('\n')}`);
    });
    this.ended.catch(() => {});
  }

  /**
   * Starts `${DYN_PYTHON:-python3} -m dynamo.ENGINE` in its own process group, which a Ctrl-C does not reach.
   *
   * @throws CliError `E_ENGINE_MISSING` (69) with the command that installs it
   */
  static async start(engine: PythonEngine, request: PythonRequest): Promise<PythonWorker> {
    const { io, options, runtime } = request;
    const { flags } = ENGINE_FLAGS[engine];
    const unknown = (['baseGpuId', 'numNodes', 'nodeRank', 'leaderAddr'] as const).find(
      (name) => options[name] !== undefined && flags[name] === undefined,
    );
    if (unknown !== undefined) throw usageError(`out=${engine} does not have the option ${flagOf(unknown)}`);
    const args = pythonArgs(engine, request);
    const python = io.env['DYN_PYTHON'] || 'python3';
    await checkInstalled(engine, python, io);
    // Nothing of the engine survives this process, also if it is killed with -9.
    const { supervisor, worker } = await findContainment();
    const [program, ...words] = [...(supervisor ?? worker), python, ...args];
    const child = spawn(program as string, words, {
      cwd: io.cwd,
      env: { ...io.env, ...discoveryVariables(runtime), PYTHONUNBUFFERED: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    return new PythonWorker(engine, child, io);
  }

  /** Writes no further lines of its log. */
  quiet(): void {
    this.#isQuiet = true;
  }

  /** Ends the process and those that it started: politely, after 30 s by force. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    signalGroup(pid, 'SIGTERM');
    const timer = setTimeout(() => signalGroup(pid, 'SIGKILL'), CLOSE_TIMEOUT_MS);
    await this.ended.catch(() => {});
    clearTimeout(timer);
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended.
  }
}

/** Looks for the modules without loading them, which takes an engine many seconds. */
async function checkInstalled(engine: PythonEngine, python: string, io: CommandIo): Promise<void> {
  const { needs } = ENGINE_FLAGS[engine];
  const script = [
    'import importlib.util as u',
    'has = lambda name: u.find_spec(name.split(".")[0]) and u.find_spec(name)',
    `print(*[name for name in ("dynamo", "dynamo.${engine}", "${needs}") if not has(name)], sep=",")`,
  ].join('\n');
  const missing = await new Promise<string>((settle) => {
    execFile(python, ['-c', script], { cwd: io.cwd, env: { ...io.env } }, (error, stdout) =>
      settle(
        error === null
          ? stdout.trim()
          : `\n${error.code === ('ENOENT' as never) ? `${python}: not found` : error.message}`,
      ),
    );
  });
  if (missing === '') return;
  const [module] = missing.split(',');
  const reason = missing.startsWith('\n') ? missing.trim() : `No module named '${module}'`;
  throw new CliError(
    'E_ENGINE_MISSING',
    `engine '${engine}' is not installed: ${python} -m dynamo.${engine} failed (${reason}). ` +
      `Install with: pip install 'ai-dynamo[${engine}]'`,
    { exitCode: EXIT.unavailable, hint: '$DYN_PYTHON selects the Python interpreter' },
  );
}
