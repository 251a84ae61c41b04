import type { DashboardSnapshot, InstanceView, ServiceView, TraceView } from 'dynamo-node/dashboard';
import { expect } from 'vitest';
import type { Child } from '../child.js';
import { waitFor } from '../wait.js';

/** A graph of several processes may take long to change on a loaded machine. */
const CHANGE_MS = 90_000;

/** A client of a live view that runs. */
export class ViewClient {
  readonly origin: string;
  readonly token: string;

  /** @param url with the token */
  constructor(readonly url: string) {
    const { origin, hash } = new URL(url);
    this.origin = origin;
    this.token = hash.replace('#token=', '');
  }

  /** The view that a process has announced. */
  static async of(child: Child): Promise<ViewClient> {
    const pattern = /http:\/\/127\.0\.0\.1:\d+\/#token=[\w-]+/;
    const output = await waitFor(
      'the address of the view',
      () => ({ text: child.output, isRunning: child.isRunning }),
      ({ text, isRunning }) => pattern.test(text) || !isRunning,
      CHANGE_MS,
    );
    const [url] = pattern.exec(output.text) ?? [];
    if (url === undefined) throw new Error(`it ended without a view: ${output.text}`);
    return new ViewClient(url);
  }

  async snapshot(): Promise<DashboardSnapshot> {
    const response = await fetch(`${this.origin}/api/snapshot`);
    return ((await response.json()) as { snapshot: DashboardSnapshot }).snapshot;
  }

  /** The first snapshot that fits. */
  until(what: string, fits: (snapshot: DashboardSnapshot) => boolean): Promise<DashboardSnapshot> {
    return waitFor(what, () => this.snapshot(), fits, CHANGE_MS);
  }

  /** Calls a route with the token. */
  call(path: string, body?: unknown): Promise<Response> {
    return fetch(this.origin + path, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
    });
  }

  /** Traces a request, as soon as the view knows a frontend. */
  async trace(body: object): Promise<TraceView> {
    await this.until('a frontend that is known', ({ actions }) => actions.trace);
    const response = await this.call('/api/trace', body);
    const text = await response.text();
    expect([response.status, text]).toEqual([200, text]);
    return JSON.parse(text) as TraceView;
  }
}

export const serviceOf = ({ services }: DashboardSnapshot, name: string): ServiceView | undefined =>
  services.find((one) => one.name === name);

export const instancesOf = (snapshot: DashboardSnapshot, name: string): readonly InstanceView[] =>
  serviceOf(snapshot, name)?.instances ?? [];
