import { pack, text, textBytes } from '../addon/codec.js';
import { Inbox, type InboxRequest } from '../addon/inbox.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import {
  checkArray,
  checkFunction,
  checkInteger,
  checkNumber,
  checkOptions,
  checkString,
  checkStringMap,
} from '../check.js';
import { failureFrom } from '../errors.js';
import type { Scope } from './events.js';

/** Name, help and labels of a metric. */
export interface MetricOptions<Label extends string = string> {
  /** Without Dynamo's prefix: `dynamo_component_` is put before it. */
  readonly name: string;
  readonly help: string;
  /** Labels whose values are given with each change. */
  readonly labelNames?: readonly Label[];
  /** Labels with one value for good. Dynamo adds namespace, component, endpoint and worker id itself. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** A histogram's options: those of a metric, and its buckets. */
export interface HistogramOptions<Label extends string = string> extends MetricOptions<Label> {
  /** Upper bounds, ascending. @default Prometheus's own */
  readonly buckets?: readonly number[];
}

type Labels<Label extends string> = Readonly<Record<Label, string>>;

class Metric<Label extends string> {
  readonly #handle: Handle;
  readonly #labelNames: readonly Label[];
  readonly #name: string;

  /** @internal */
  constructor(runtime: Handle, scope: Scope, kind: string, options: HistogramOptions<Label>) {
    const path = `metrics.${kind} options`;
    checkOptions(path, options, ['name', 'help', 'labelNames', 'labels', 'buckets']);
    const { name, help, labelNames = [], labels = {}, buckets } = options;
    checkString(`${path}.name`, name);
    checkString(`${path}.help`, help);
    checkStringMap(`${path}.labels`, labels);
    checkArray(`${path}.labelNames`, labelNames, 'names');
    labelNames.forEach((label, index) => checkString(`${path}.labelNames[${index}]`, label));
    if (buckets !== undefined) checkArray(`${path}.buckets`, buckets, 'numbers');
    buckets?.forEach((bound, index) => {
      checkNumber(`${path}.buckets[${index}]`, bound);
      if (index > 0 && bound <= (buckets[index - 1] as number))
        throw new RangeError(`${path}.buckets[${index}]: expected a bound above ${buckets[index - 1]}, got ${bound}`);
    });
    const args = pack({ ...scope, kind, name, help, labelNames, labels: Object.entries(labels), buckets });
    this.#handle = invokeSync(native.runtimeMetric, `metrics.${kind}`, { handle: runtime, args });
    this.#labelNames = labelNames;
    this.#name = name;
  }

  protected change(verb: string, value: number, labels: Labels<Label> | undefined): void {
    const operation = `metric ${this.#name}.${verb}`;
    checkNumber(`${operation} value`, value);
    if (labels !== undefined) checkOptions(`${operation} labels`, labels, this.#labelNames);
    const values = this.#labelNames.map((label) => {
      const given = labels?.[label];
      checkString(`${operation} labels.${label}`, given);
      return given;
    });
    invokeSync(native.metricChange, operation, { handle: this.#handle, args: pack({ verb, value, labels: values }) });
  }
}

/** A Prometheus counter: it only rises. */
export class Counter<Label extends string = never> extends Metric<Label> {
  /** Adds `by`: a TypeError where it is negative. Every label of `labelNames` must be given. */
  increment(by = 1, labels?: Labels<Label>): void {
    this.change('add', by, labels);
  }
}

/** A Prometheus gauge: it rises and falls. */
export class Gauge<Label extends string = never> extends Metric<Label> {
  /** Sets the value. */
  set(value: number, labels?: Labels<Label>): void {
    this.change('set', value, labels);
  }

  /** Adds to the value; a negative number lowers it. */
  add(value: number, labels?: Labels<Label>): void {
    this.change('add', value, labels);
  }
}

/** A Prometheus histogram: counts of observed values by bucket. */
export class Histogram<Label extends string = never> extends Metric<Label> {
  /** Counts a value in its bucket. */
  observe(value: number, labels?: Labels<Label>): void {
    this.change('observe', value, labels);
  }
}

/** Where text of your own comes from; without `render` from `set` alone. */
export interface MetricsTextOptions {
  /**
   * Gives the text, in Prometheus's exposition format, whenever `/metrics` is read, such as the `metrics` of a `prom-client`
   * registry. Where it throws, the text is left out and the log says why.
   */
  readonly render?: () => string | Promise<string>;
  /** How long `/metrics` waits for `render`; past it the last text is shown. @default 100 */
  readonly timeLimitMs?: number;
}

const DEFAULT_LIMIT_MS = 100;
const MOST_LIMIT_MS = 60_000;
const NO_BYTES = new Uint8Array();

/** Prometheus text of your own beside Dynamo's: `/metrics` shows what was set or rendered last. */
export class MetricsText {
  readonly #handle: Handle;
  /** @internal Through which it is asked to render. */
  readonly inbox: Inbox | undefined;

  /** @internal */
  constructor(runtime: Handle, scope: Scope, options: MetricsTextOptions) {
    const path = 'metrics.text options';
    checkOptions(path, options, ['render', 'timeLimitMs']);
    const { render, timeLimitMs = DEFAULT_LIMIT_MS } = options;
    if (render !== undefined) checkFunction(`${path}.render`, render);
    checkInteger(`${path}.timeLimitMs`, timeLimitMs, 1, MOST_LIMIT_MS);
    const args = pack({ ...scope, ...(render === undefined ? {} : { timeLimitMs }) });
    const made = invokeSync(native.runtimeMetricsText, 'metrics.text', { handle: runtime, args });
    const [, handle, inbox] = Array.isArray(made) ? made : [undefined, made];
    this.#handle = handle;
    if (inbox === undefined || render === undefined) return;
    const request = async ({ sink }: InboxRequest): Promise<void> => {
      try {
        this.set(await render());
        await sink.write(NO_BYTES, false, true);
      } catch (error) {
        sink.end(failureFrom(error));
      }
    };
    this.inbox = new Inbox(inbox, { request, lost: () => {} }, { concurrency: 1, background: true });
  }

  /** Replaces the text, in Prometheus's exposition format. */
  set(exposition: string): void {
    checkString('metrics.text set', exposition);
    invokeSync(native.metricsTextSet, 'metrics.text', { handle: this.#handle, payload: textBytes(exposition) });
  }
}

/** The texts of each runtime: a scrape shows them whether or not the program still holds the object. */
const shown = new WeakMap<Handle, MetricsText[]>();

/** Nobody reads the texts of a runtime that is closed. */
export function endTexts(runtime: Handle): void {
  for (const text of shown.get(runtime) ?? []) text.inbox?.close();
  shown.delete(runtime);
}

/**
 * The metrics of one place in the hierarchy.
 *
 * @example
 * const calls = endpoint.metrics.counter({ name: 'calls_total', help: 'Calls by outcome.', labelNames: ['outcome'] });
 * calls.increment(1, { outcome: 'ok' });
 */
export class Metrics {
  readonly #runtime: Handle;
  readonly #scope: Scope;

  /** @internal */
  constructor(runtime: Handle, scope: Scope) {
    this.#runtime = runtime;
    this.#scope = scope;
  }

  /** A counter at this place. */
  counter<Label extends string = never>(options: MetricOptions<Label>): Counter<Label> {
    return new Counter<Label>(this.#runtime, this.#scope, 'counter', options);
  }

  /** A gauge at this place. */
  gauge<Label extends string = never>(options: MetricOptions<Label>): Gauge<Label> {
    return new Gauge<Label>(this.#runtime, this.#scope, 'gauge', options);
  }

  /** A histogram at this place. */
  histogram<Label extends string = never>(options: HistogramOptions<Label>): Histogram<Label> {
    return new Histogram<Label>(this.#runtime, this.#scope, 'histogram', options);
  }

  /** A place for text of your own, shown behind the others' for as long as the runtime is there. */
  text(options: MetricsTextOptions = {}): MetricsText {
    const text = new MetricsText(this.#runtime, this.#scope, options);
    shown.set(this.#runtime, [...(shown.get(this.#runtime) ?? []), text]);
    return text;
  }
}

/** All metrics of a runtime as Prometheus text. */
export function expose(runtime: Handle): string {
  return text(invokeSync(native.runtimeMetrics, 'runtime.metricsText', { handle: runtime }));
}
