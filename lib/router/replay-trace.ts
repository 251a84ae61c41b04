import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { checkArray, checkInteger, checkObject, checkString, wrongType } from '../check.js';
import { DynamoError } from '../errors.js';

/** A row may have the name of Mooncake, or that of another recorder. Source: `aisimulate-core` `MooncakeRow`. */
const ALIASES = {
  input_length: 'input_tokens',
  output_length: 'output_tokens',
  timestamp: 'created_time',
  delay: 'delay_ms',
} as const;

type Row = Readonly<Record<string, unknown>>;

function refuse(path: string, expected: string, got: string): never {
  throw new RangeError(`${path}: expected ${expected}, got ${got}`);
}

/** The value of a field. Null counts as absent. */
function fieldOf(at: string, row: Row, name: keyof typeof ALIASES): unknown {
  const [value, other] = [row[name], row[ALIASES[name]]];
  if (value !== undefined && other !== undefined) refuse(at, `${name} or ${ALIASES[name]}`, 'both');
  return value ?? other ?? undefined;
}

function checkTime(path: string, value: unknown): asserts value is number | undefined {
  if (value !== undefined && !Number.isFinite(value)) wrongType(path, 'a finite number', value);
}

/** Hashes have 64 bits, more than a number of JavaScript is precise for. */
const isHash = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 64;

/** The checks of the rows of one trace. */
class RowCheck {
  /** By the session: the time of its last request. */
  readonly #sessions = new Map<string, number | undefined>();

  constructor(private readonly blockTokens: number) {}

  /** @throws TypeError, RangeError that names the place and the field */
  check(at: string, line: string): void {
    const row = parsed(at, line);
    const { hash_ids: ids } = row;
    checkArray(`${at} hash_ids`, ids, 'block hashes');
    const odd = ids.find((id) => !isHash(id));
    if (odd !== undefined) wrongType(`${at} hash_ids`, 'integers of 64 bits', odd);
    const most = ids.length * this.blockTokens;
    const inputTokens = fieldOf(at, row, 'input_length') ?? most;
    checkInteger(`${at} input_length`, inputTokens, 1);
    if (inputTokens > most)
      refuse(`${at} input_length`, `at most ${most}, ${ids.length} hash_ids of ${this.blockTokens}`, `${inputTokens}`);
    checkInteger(`${at} output_length`, fieldOf(at, row, 'output_length'), 0);
    this.#checkTimes(at, row);
  }

  /** A row without a session is its own. */
  #checkTimes(at: string, row: Row): void {
    const [timestamp, delay] = [fieldOf(at, row, 'timestamp'), fieldOf(at, row, 'delay')];
    checkTime(`${at} timestamp`, timestamp);
    checkTime(`${at} delay`, delay);
    const session = row['session_id'] ?? undefined;
    if (session !== undefined) checkString(`${at} session_id`, session);
    const isFirst = session === undefined || !this.#sessions.has(session);
    if (isFirst && (delay ?? 0) !== 0) wrongType(`${at} delay`, '0 for the first request of a session', delay);
    if ((delay ?? 0) < 0) wrongType(`${at} delay`, 'at least 0', delay);
    if (session === undefined) return;
    const before = this.#sessions.get(session);
    if (!isFirst && delay === undefined && timestamp !== undefined) {
      if (before === undefined) wrongType(`${at} timestamp`, 'none, because its session began without one', timestamp);
      if (timestamp < before) wrongType(`${at} timestamp`, `at least ${before}, that of its session`, timestamp);
    }
    this.#sessions.set(session, timestamp ?? before);
  }
}

function parsed(at: string, line: string): Row {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return wrongType(at, 'a JSON object', line);
  }
  checkObject(at, row);
  return row;
}

const faulty = (message: string, reason: string, cause: unknown): DynamoError =>
  new DynamoError('InvalidRequest', message, { operation: 'replayTrace', reason, cause });

/**
 * Checks a trace before the simulator reads it, because the simulator reports a faulty trace as an internal fault.
 *
 * @param blockTokens the tokens for which one hash id stands
 * @throws DynamoError `DYN_INVALID_REQUEST`: `replay.no_trace` for a file that cannot be read, `replay.bad_trace` for a
 * faulty line, which it names
 */
export async function checkTrace(path: string, blockTokens: number, signal?: AbortSignal): Promise<void> {
  let rows = 0;
  try {
    const found = await stat(path);
    if (!found.isFile()) refuse(path, 'a file', found.isDirectory() ? 'a folder' : 'a device');
    const check = new RowCheck(blockTokens);
    let number = 0;
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      if (signal?.aborted === true) return;
      number++;
      if (line.trim() === '') continue;
      check.check(`${path}:${number}`, line);
      rows++;
    }
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError)
      throw faulty(error.message, 'replay.bad_trace', error);
    throw faulty(`${path}: expected a trace that can be read: ${(error as Error).message}`, 'replay.no_trace', error);
  }
  if (rows === 0) throw faulty(`${path}: expected at least one request, got none`, 'replay.bad_trace', undefined);
}
