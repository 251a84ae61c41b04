import type { TraceView } from '../../view.js';

const STORED = 'dynamo.token';

/** Whether the server accepts the token. `unknown`: it has not been checked. */
export type TokenState = 'absent' | 'unknown' | 'accepted' | 'refused';

/** An answer of the server that is an error. */
export class RequestFailure extends Error {
  override readonly name = 'RequestFailure';
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** One line of a log, or the number of bytes that were left out. */
export type LogItem = { readonly time: string; readonly text: string } | { readonly skipped: number };

/** Calls of the server that need the token. */
export class Session {
  #token: string | undefined;
  #state: TokenState = 'absent';
  readonly #listeners: ((state: TokenState) => void)[] = [];

  constructor() {
    this.#token = tokenInAddress() ?? sessionStorage.getItem(STORED) ?? undefined;
    if (this.#token !== undefined) this.#state = 'unknown';
    addEventListener('hashchange', () => {
      const token = tokenInAddress();
      if (token !== undefined) void this.use(token);
    });
  }

  get state(): TokenState {
    return this.#state;
  }

  /** Whether a call may succeed. */
  get mayAct(): boolean {
    return this.#state === 'accepted' || this.#state === 'unknown';
  }

  /** Calls the listener now and after each change. */
  onState(listener: (state: TokenState) => void): void {
    this.#listeners.push(listener);
    listener(this.#state);
  }

  /** Uses another token and checks it. */
  async use(token: string): Promise<TokenState> {
    this.#token = token;
    sessionStorage.setItem(STORED, token);
    this.#setState('unknown');
    return this.check();
  }

  /** Asks the server whether the token is right. Nothing changes if the server does not answer. */
  async check(): Promise<TokenState> {
    if (this.#token === undefined) return this.#state;
    try {
      await this.#call('/api/token');
    } catch (error) {
      // `#call` has noted a refusal.
      if (!(error instanceof RequestFailure)) return this.#state;
    }
    return this.#state;
  }

  /** Sets the number of workers of a service. */
  async scale(service: string, workers: number): Promise<'done' | 'started'> {
    const response = await this.#call('/api/scale', { service, workers });
    return ((await response.json()) as { outcome: 'done' | 'started' }).outcome;
  }

  /** Sends a request through the graph and returns its way. */
  async trace(request: { prompt: string; model?: string; maxTokens: number }): Promise<TraceView> {
    return (await (await this.#call('/api/trace', request)).json()) as TraceView;
  }

  /**
   * The last lines of an instance and those that follow, in groups as they arrive, until the signal aborts. The first
   * group is empty: the server has accepted the question.
   */
  async *logs(instance: string, tail: number, signal: AbortSignal): AsyncGenerator<LogItem[]> {
    const query = new URLSearchParams({ instance, tail: String(tail), follow: '1' });
    const response = await this.#call(`/api/logs?${query}`, undefined, signal);
    yield [];
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop()!;
      yield lines.filter((line) => line !== '').map((line) => JSON.parse(line) as LogItem);
    }
  }

  async #call(path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    const response = await fetch(path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token.replace(/[^\x21-\x7e]/g, '?')}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
    if (response.status === 401) this.#setState(this.#token === undefined ? 'absent' : 'refused');
    else if (response.status !== 403) this.#setState('accepted');
    if (!response.ok) throw await failureOf(response);
    return response;
  }

  #setState(state: TokenState): void {
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }
}

/** Takes the token out of the address, so that it is not in the history and not on a screenshot. */
function tokenInAddress(): string | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) return undefined;
  history.replaceState(null, '', location.pathname + location.search);
  sessionStorage.setItem(STORED, token);
  return token;
}

async function failureOf(response: Response): Promise<RequestFailure> {
  const text = await response.text();
  try {
    const { code, message, hint } = JSON.parse(text).error as { code: string; message: string; hint?: string };
    return new RequestFailure(response.status, code, hint === undefined ? message : `${message}. ${hint}`);
  } catch {
    return new RequestFailure(response.status, '', `The server answered ${response.status} ${response.statusText}`);
  }
}

/** What to show of anything that a call threw. */
export function failureText(error: unknown): string {
  if (error instanceof RequestFailure && error.code === 'E_TOKEN') return 'The server refuses this token.';
  if (error instanceof TypeError) return 'The server does not answer.';
  return error instanceof Error ? error.message : String(error);
}
