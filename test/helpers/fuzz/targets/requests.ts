import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';

import { onTestFinished } from 'vitest';

import { Child } from '../../child.js';
import { connectTo, RawCaller, requestBytes } from '../../runtime/raw-caller.js';
import { within } from '../../wait.js';
import { must } from '../expectations.js';
import type { FuzzTarget } from '../harness.js';
import { FuzzInput } from '../input.js';

const MAX_EDITS = 8;
const LENGTHS = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff];
/** A connection of an answer is closed after this time, so that no request waits for its caller. */
const ANSWER_MS = 200;
const CLOSE_MS = 10_000;
const WAIT_MS = 5;
/** One of so many connections is closed. */
const CLOSED_ONES = 64;
const CHECK_EVERY = 250;
const MAX_GROWTH_MIB = 256;

/** Changes bytes of a request, but not the address of the answers: a worker connects to any. */
function edited(bytes: Buffer, address: string, input: FuzzInput): Buffer {
  for (let edits = 1 + input.below(MAX_EDITS); edits > 0; edits--) {
    const [kind, place] = [input.below(4), input.below(bytes.length + 1)];
    const start = bytes.indexOf(address);
    const end = start + address.length + 1;
    if (start === -1) break;
    const isHere = place >= start - 8 && place <= end;
    const [head, tail] = [bytes.subarray(0, place), bytes.subarray(place)];
    if (isHere) continue;
    if (kind === 0 && tail.length > 0) bytes[place] = input.byte();
    else if (kind === 1) bytes = Buffer.concat([head, input.take(16), tail]);
    else if (kind === 2 && (place > end || place + 16 < start))
      bytes = Buffer.concat([head, tail.subarray(input.below(16))]);
    else if (kind === 3 && tail.length >= 4 && (place > end || place + 4 < start - 8))
      bytes.writeUInt32BE(input.pick(LENGTHS), place);
  }
  return bytes;
}

/** A stream of bytes for a worker. */
function messageOf(input: FuzzInput, address: string, answers: number): Uint8Array {
  const kind = input.below(4);
  const codec = input.below(2) === 0 ? 'msgpack' : 'json';
  if (kind === 0) return input.bytes.subarray(2);
  if (kind === 1) return requestBytes(address, answers, input.bytes.subarray(2), codec);
  const payload = codec === 'msgpack' ? Uint8Array.of(0x81, 0xa1, 0x6b, 0x01) : Buffer.from('{"k":[1,null]}');
  const bytes = edited(requestBytes(address, answers, payload, codec), `127.0.0.1:${answers}`, input);
  return kind === 2 ? bytes : bytes.subarray(0, input.below(bytes.length + 1));
}

/**
 * Sends a message and leaves after the first answer, or when the worker waits for more. Mostly by a reset: each port
 * of a connection that is closed stays reserved for a minute.
 */
async function send(address: string, message: Uint8Array, isClosed: boolean): Promise<void> {
  const socket = connectTo(address);
  await once(socket, 'connect');
  const left = once(
    socket.on('error', () => {}),
    'close',
  );
  const answered = once(socket, 'data');
  answered.catch(() => {});
  if (isClosed) {
    socket.resume().end(message);
    await within(CLOSE_MS, 'the end of a connection that its caller has closed', left);
  } else {
    socket.write(message);
    await Promise.race([answered, left, after(WAIT_MS)]);
  }
  socket.resetAndDestroy();
}

const memoryMiB = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

/** After any bytes a worker answers a good request, and its memory is bounded. */
export const requestsTarget: FuzzTarget = {
  name: 'requests',
  concurrency: 8,
  open: async () => {
    const child = Child.program('test/helpers/fuzz/programs/server.ts', [], { env: { DYN_LOG: 'off' } });
    onTestFinished(() => child.stop());
    const { address } = (await child.event('ready')) as unknown as { address: string };
    const answers = createServer((socket) => {
      socket.on('error', () => {}).resume();
      setTimeout(() => socket.resetAndDestroy(), ANSWER_MS);
    }).listen(0, '127.0.0.1');
    onTestFinished(() => void answers.close());
    await once(answers, 'listening');
    const { port } = answers.address() as AddressInfo;

    /** The good requests without an answer, by the text that the worker returns. */
    const unanswered = new Map<string, () => void>();
    const caller = await RawCaller.listen(({ data }) => {
      for (const [token, answer] of unanswered) if (data.includes(token)) answer();
    });
    onTestFinished(() => caller.close());
    const check = async (): Promise<void> => {
      const token = randomUUID();
      const answered = new Promise<void>((resolve) => unanswered.set(token, resolve));
      await within(CLOSE_MS, 'the acknowledgement of a good request', caller.send(address, token));
      await within(CLOSE_MS, 'the answer to a good request', answered);
      unanswered.delete(token);
      must('the worker lives', child.isRunning);
    };
    await check();
    const before = memoryMiB(child.pid);
    let count = 0;
    return async (bytes) => {
      const number = ++count;
      await send(address, messageOf(new FuzzInput(bytes), address, port), number % CLOSED_ONES === 0);
      if (number % CHECK_EVERY !== 0) return;
      await check();
      const now = memoryMiB(child.pid);
      must(`memory is bounded, from ${before} to ${now} MiB`, now - before < MAX_GROWTH_MIB);
    };
  },
};
