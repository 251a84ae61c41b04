import { reasonOf } from '../addon/callback.js';
import { DynamoError } from '../errors.js';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const fromBase64 = (text: string): string => Buffer.from(text, 'base64').toString();

/** A call waits no longer. */
const CALL_MS = 5000;

/** The key after the last one with a prefix. */
function afterPrefix(prefix: string): string {
  const bytes = Buffer.from(prefix);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) + 1;
  return bytes.toString('base64');
}

/** Keys of etcd that vanish with their writer, over the HTTP gateway of etcd 3.4 and later. */
export class EtcdKeys implements AsyncDisposable {
  #lease: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #endpoint = 0;
  #isClosed = false;

  /** @param endpoints URLs; the next one is tried if one does not answer */
  constructor(
    private readonly endpoints: readonly string[],
    private readonly leaseTtlSeconds: number,
  ) {}

  /** The values of all keys with a prefix, by the rest of their names. */
  async read(prefix: string, signal?: AbortSignal): Promise<Readonly<Record<string, string>>> {
    const body = { key: base64(prefix), range_end: afterPrefix(prefix) };
    const { kvs = [] } = await this.#call<{ kvs?: { key: string; value?: string }[] }>('kv/range', body, signal);
    return Object.fromEntries(
      kvs.map(({ key, value = '' }) => [fromBase64(key).slice(prefix.length), fromBase64(value)]),
    );
  }

  /**
   * Writes keys together, if those of `expected` have these values. Returns whether they had.
   *
   * @param expected undefined for a key that must not exist
   */
  async write(
    values: Readonly<Record<string, string>>,
    expected: Readonly<Record<string, string | undefined>> = {},
    signal?: AbortSignal,
  ): Promise<boolean> {
    const lease = await this.#ownLease(signal);
    const compare = Object.entries(expected).map(([key, value]) =>
      value === undefined
        ? { key: base64(key), target: 'CREATE', create_revision: '0' }
        : { key: base64(key), target: 'VALUE', value: base64(value) },
    );
    const success = Object.entries(values).map(([key, value]) => ({
      requestPut: { key: base64(key), value: base64(value), lease },
    }));
    const { succeeded = false } = await this.#call<{ succeeded?: boolean }>('kv/txn', { compare, success }, signal);
    return succeeded;
  }

  /** Ends the lease, so that the written keys vanish. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    const lease = this.#lease;
    this.#lease = undefined;
    if (lease !== undefined) await this.#call('lease/revoke', { ID: lease }).catch(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #ownLease(signal?: AbortSignal): Promise<string> {
    if (this.#lease !== undefined) return this.#lease;
    const { ID } = await this.#call<{ ID: string }>('lease/grant', { TTL: this.leaseTtlSeconds }, signal);
    this.#lease = ID;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => void this.#keepAlive(ID), (this.leaseTtlSeconds * 1000) / 3).unref();
    return ID;
  }

  /** A lease that has ended is forgotten; the next write gets another one. */
  async #keepAlive(lease: string): Promise<void> {
    try {
      const { result } = await this.#call<{ result?: { TTL?: string } }>('lease/keepalive', { ID: lease });
      if (Number(result?.TTL ?? 0) > 0 || this.#lease !== lease) return;
      this.#lease = undefined;
      clearInterval(this.#timer);
    } catch {
      // The next one tries again. If etcd stays away, the lease ends there.
    }
  }

  async #call<Answer>(method: string, body: object, signal?: AbortSignal): Promise<Answer> {
    const operation = `etcd ${method}`;
    if (this.#isClosed && method !== 'lease/revoke') throw new DynamoError('Unavailable', `${operation}: it is closed`);
    let failure: unknown;
    for (let attempt = 0; attempt < this.endpoints.length; attempt++) {
      const endpoint = this.endpoints[this.#endpoint % this.endpoints.length] as string;
      const limit = AbortSignal.timeout(CALL_MS);
      try {
        const response = await fetch(`${endpoint.replace(/\/$/, '')}/v3/${method}`, {
          method: 'POST',
          body: JSON.stringify(body),
          signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
        });
        const text = await response.text();
        if (response.ok) return JSON.parse(text) as Answer;
        if (/lease not found/.test(text)) this.#lease = undefined;
        failure = new Error(`status ${response.status}: ${text.slice(0, 200)}`);
      } catch (error) {
        failure = error;
        if (signal?.aborted) break;
      }
      this.#endpoint++;
    }
    throw new DynamoError('Unavailable', `${operation} at ${this.endpoints.join(', ')}: ${reasonOf(failure)}`, {
      operation,
      cause: failure,
    });
  }
}
