import { chmodSync, closeSync, openSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { DeployError } from '../deploy-error.js';
import type { RunState } from './run-folder.js';
import type { RecalledPhases } from './worker-messages.js';

/** What `dynamo ps`, `scale` and `stop`, and a planner, send to a graph. */
export type ControlRequest =
  /** A planner renews its claim on the graph with it. */
  | {
      readonly command: 'status';
      readonly planner?: string;
      /** Asks the workers for their metrics, which a later answer has. */
      readonly measure?: boolean;
    }
  /** What the workers know of a request. */
  | { readonly command: 'recall'; readonly requestId: string }
  | {
      readonly command: 'scale';
      /** Numbers of workers by the name of their service. */
      readonly words: readonly string[];
      /** The planner that has decided. The answer then comes at once, before the change is complete. */
      readonly planner?: string;
      /** How long removed workers may complete their requests. @default that of the graph */
      readonly graceMs?: number;
    }
  /** Answered when the drain begins. */
  | { readonly command: 'stop' }
  /** Ends all processes at once. */
  | { readonly command: 'kill' };

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly exitCode: number;
  readonly hint?: string;
}

/** The state of a graph, and what else was asked for. */
export interface ControlAnswer {
  readonly state: RunState;
  readonly recalled?: readonly RecalledPhases[];
}

type Reply = ({ readonly ok: true } & ControlAnswer) | ({ readonly ok: false } & Failure);

const MAX_REQUEST_CHARACTERS = 64 * 1024;

/** The path of a Unix socket has at most 107 bytes. Linux reaches a longer one through the descriptor of its folder. */
const MAX_SOCKET_BYTES = 107;

function withShortPath<T>(path: string, use: (path: string, done: () => void) => T): T {
  if (Buffer.byteLength(path) <= MAX_SOCKET_BYTES) return use(path, () => {});
  const folder = openSync(dirname(path), 'r');
  let isOpen = true;
  const done = (): void => {
    if (isOpen) closeSync(folder);
    isOpen = false;
  };
  try {
    return use(`/proc/self/fd/${folder}/${basename(path)}`, done);
  } catch (error) {
    done();
    throw error;
  }
}

const failureOf = (error: unknown): Failure =>
  error instanceof DeployError
    ? {
        code: error.code,
        message: error.message,
        exitCode: error.exitCode,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      }
    : { code: 'E_FAILED', message: error instanceof Error ? error.message : String(error), exitCode: 1 };

/** Answers requests on a socket that only its user can open: one line of JSON each way. */
export async function startControl(
  path: string,
  answer: (request: ControlRequest) => Promise<ControlAnswer>,
): Promise<Server> {
  const server = createServer((socket) => {
    // A client that leaves in the middle of its request.
    converse(socket, answer).catch(() => socket.destroy());
  });
  await withShortPath(
    path,
    (short, done) =>
      new Promise<void>((resolve, reject) => {
        const failed = (error: Error): void => {
          done();
          reject(error);
        };
        server.once('error', failed).listen(short, () => {
          chmodSync(short, 0o600);
          done();
          resolve();
        });
      }),
  );
  return server;
}

async function converse(socket: Socket, answer: (request: ControlRequest) => Promise<ControlAnswer>): Promise<void> {
  socket.on('error', () => socket.destroy());
  let characters = 0;
  socket.setEncoding('utf8').on('data', (text: string) => {
    characters += text.length;
    if (characters > MAX_REQUEST_CHARACTERS) socket.destroy();
  });
  for await (const line of createInterface({ input: socket })) {
    let reply: Reply;
    try {
      reply = { ok: true, ...(await answer(JSON.parse(line) as ControlRequest)) };
    } catch (error) {
      reply = { ok: false, ...failureOf(error) };
    }
    if (!socket.writable) return;
    socket.end(`${JSON.stringify(reply)}\n`);
  }
}

/**
 * Sends a request to a graph that runs on this machine.
 *
 * @returns the state of the graph after it
 * @throws DeployError `E_NOT_RUNNING` (69) if the graph does not answer, or what the graph refuses
 * @throws the reason of `signal`
 */
export async function control(path: string, request: ControlRequest, signal?: AbortSignal): Promise<RunState> {
  return (await converseWith(path, request, signal)).state;
}

/**
 * What the workers of a graph know of a request.
 *
 * @throws as `control`
 */
export async function recallRequest(
  path: string,
  requestId: string,
  signal?: AbortSignal,
): Promise<readonly RecalledPhases[]> {
  return (await converseWith(path, { command: 'recall', requestId }, signal)).recalled ?? [];
}

async function converseWith(path: string, request: ControlRequest, signal?: AbortSignal): Promise<ControlAnswer> {
  signal?.throwIfAborted();
  const text = await withShortPath(
    path,
    (short, done) =>
      new Promise<string>((resolve, reject) => {
        let reply = '';
        const socket = createConnection({ path: short, signal });
        socket.setEncoding('utf8');
        socket.on('connect', () => {
          done();
          socket.write(`${JSON.stringify(request)}\n`);
        });
        socket.on('data', (part: string) => {
          reply += part;
        });
        socket.on('end', () => resolve(reply));
        socket.on('error', (error) => {
          done();
          reject(error);
        });
      }),
  ).catch((cause: unknown) => {
    signal?.throwIfAborted();
    throw gone(path, cause);
  });
  if (text === '') throw gone(path);
  const reply = JSON.parse(text) as Reply;
  if (reply.ok) return reply;
  const { code, message, exitCode, hint } = reply;
  throw new DeployError(code, message, { exitCode, ...(hint === undefined ? {} : { hint }) });
}

const gone = (path: string, cause?: unknown): DeployError =>
  new DeployError('E_NOT_RUNNING', `${dirname(path)}: the graph does not answer`, { exitCode: 69, path, cause });
