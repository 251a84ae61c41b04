import { describe, expect, it } from 'vitest';

import { pack } from '../../../lib/addon/codec.js';
import type { InboxHandler, InboxRequest } from '../../../lib/addon/inbox.js';
import type { Failure } from '../../../lib/errors.js';
import { EngineHost } from '../../../lib/llm/engine-host.js';
import { ProcessorHost } from '../../../lib/llm/processor.js';
import { RouteHost } from '../../../lib/llm/routes.js';
import { maxMessageBytes } from '../../../lib/runtime/limits.js';
import { packedRequest } from '../../helpers/llm/preprocessed.js';
import { waitFor } from '../../helpers/wait.js';

/** The reader of an answer, as the native side is one. */
class Reader {
  items = 0;
  /** The reader is gone: items are refused. */
  isGone = false;
  end: Failure | 'end' | undefined;

  readonly sink = {
    write: (_bytes: Uint8Array, _annotated = false, last = false): boolean => {
      if (this.isGone) return false;
      this.items += 1;
      if (last) this.end ??= 'end';
      return true;
    },
    notify: (): void => {},
    end: (failure?: Failure): void => void (this.end ??= failure ?? 'end'),
  };
}

/** What a generator does after its first item. */
type After = 'ends' | 'throws' | 'yields what cannot be packed' | 'yields too much' | 'goes on';

const ENDS: [name: string, after: After][] = [
  ['its end', 'ends'],
  ['its own error', 'throws'],
  ['an item that cannot be packed', 'yields what cannot be packed'],
  ['an item that is too large', 'yields too much'],
  ['a kill', 'goes on'],
  ['a stop', 'goes on'],
  ['the close', 'goes on'],
  ['a disconnect', 'goes on'],
];

interface Observed {
  /** How many generators have begun and have not run their `finally`. */
  open: number;
}

/** A generator of items of one kind. */
async function* generate(after: After, good: object, bad: object, large: object, observed: Observed) {
  observed.open += 1;
  try {
    yield good;
    if (after === 'ends') return;
    if (after === 'throws') throw new Error('no more paper');
    if (after === 'yields what cannot be packed') yield bad;
    if (after === 'yields too much') yield large;
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      yield good;
    }
  } finally {
    observed.open -= 1;
  }
}

const LARGE = new Uint8Array(maxMessageBytes() + 1);
const publishing = { publishKv: () => true, publishLoad: () => true, metricsText: () => {} };
const tokens = { token_ids: [1] };

interface Hosted {
  readonly host: InboxHandler;
  readonly method: string;
  /** Bytes are sent as they are. */
  readonly payload: unknown;
  close(): unknown;
}

const engine = (raw: boolean, after: After, observed: Observed): Hosted => {
  const bad = { ...tokens, bad: () => {} };
  const large = { ...tokens, large: LARGE };
  const made = { start: () => ({ model: 'm' }), generate: () => generate(after, tokens, bad, large, observed) };
  const host = new EngineHost(() => made as never, raw, publishing);
  return { host, method: 'generate', payload: raw ? {} : packedRequest([1]), close: () => host.cancelAll() };
};

const processor = async (after: After, observed: Observed): Promise<Hosted> => {
  const chunk = { choices: [] };
  const chunks = () => generate(after, chunk, { choices: [() => {}] }, { choices: [LARGE] }, observed);
  const host = new ProcessorHost({} as never, () => ({ process: chunks }) as never);
  const model = { model: 1, name: 'm', card: {}, instance: { instance_id: 1 } };
  const added = new Reader();
  await host.request(request('model', model, added));
  expect(added.end).toBe('end');
  return { host, method: 'chat', payload: { model: 1, call: 1, request: { model: 'm' } }, close: () => host.end() };
};

const route = (after: After, observed: Observed): Hosted => {
  const bytes = new Uint8Array(1);
  const body = () => {
    const source = generate(after, bytes, {}, {}, observed);
    return new ReadableStream(
      {
        pull: async (controller) => {
          const { done, value } = await source.next();
          if (done === true) controller.close();
          else controller.enqueue(value);
        },
        cancel: () => void source.return(),
      },
      { highWaterMark: 0 },
    );
  };
  const host = new RouteHost({ '/x': () => new Response(body()) });
  return { host, method: 'get', payload: { route: 0, url: '/x', headers: [], frontend: {} }, close: () => host.end() };
};

let ids = 0;

const request = (method: string, payload: unknown, { sink }: Reader): InboxRequest => ({
  id: ++ids,
  method,
  requestId: `request-${ids}`,
  metadata: {},
  payload: payload instanceof Uint8Array ? payload : pack(payload),
  sink: sink as unknown as InboxRequest['sink'],
  input: undefined,
});

const HOSTS: [string, (after: After, observed: Observed) => Hosted | Promise<Hosted>][] = [
  ['an LLM engine', (after, observed) => engine(false, after, observed)],
  ['a raw engine', (after, observed) => engine(true, after, observed)],
  ['a processor', processor],
  ['a route', route],
];

describe.each(HOSTS)('the generator of %s runs its finally', (kind, make) => {
  it.each(ENDS)('after %s', async (end, after) => {
    // Processors and routes run in the process of their frontend, where no transport limits their items.
    if (end === 'an item that is too large' && !kind.endsWith('engine')) return;
    const observed: Observed = { open: 0 };
    const { host, method, payload, close } = await make(after, observed);
    const reader = new Reader();
    const sent = request(method, payload, reader);
    const answered = host.request(sent);
    if (after === 'goes on') {
      await waitFor('items', () => reader.items > 2);
      expect(observed.open).toBe(1);
    }
    if (end === 'a kill') host.lost(sent.id, 'killed');
    if (end === 'a disconnect') {
      reader.isGone = true;
      host.lost(sent.id, 'killed');
    }
    if (end === 'a stop') {
      host.lost(sent.id, 'stopped');
      // The crates stop reading when the engine has had its time.
      reader.isGone = true;
    }
    if (end === 'the close') void close();
    await answered;
    await waitFor('the generator', () => observed.open === 0);
    if (after === 'throws' || after.startsWith('yields'))
      expect(reader.end).toMatchObject({ class: expect.any(String) });
    if (after === 'ends') expect(reader.end).toBe('end');
  });
});
