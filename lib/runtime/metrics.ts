import { pack, textBytes, textFrom } from '../addon/codec.js';
import { Inbox, type InboxRequest } from '../addon/inbox.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import { type Awaitable, checkArray, checkNames, checkNumber, checkString } from '../check.js';
import { badArgument, failureFrom } from '../errors.js';
import { callback, custom, listOf, milliseconds, type OptionTable, optionTable, stringMap, text } from '../options.js';
import type { Scope } from './events.js';

/** Name, help and labels of a metric. */
export interface MetricOptions<Label extends string = string> {
  /** The name without Dynamo's prefix `dynamo_component_`, which is added. */
  readonly name: string;
  readonly help: string;
  /** Labels whose values are passed with each change. */
  readonly labelNames?: readonly Label[];
  /** Labels with a constant value. Dynamo adds namespace, component, endpoint and worker id. */
  readonly labels?: Readonly<Record<string, string>>;
}

/** Options of a histogram: those of a metric, and its buckets. */
export interface HistogramOptions<Label extends string = string> extends MetricOptions<Label> {
  /** Upper bounds, ascending. @default Prometheus's own */
  readonly buckets?: readonly number[];
}

const METRIC_OPTIONS: OptionTable<HistogramOptions> = optionTable<HistogramOptions>({
  name: text.required(),
  help: text.required(),
  labelNames: listOf(text, 'names'),
  labels: stringMap,
  buckets: custom<readonly number[]>('an array of ascending numbers', checkBuckets),
});

function checkBuckets(path: string, value: unknown): void {
  checkArray(path, value, 'numbers');
  value.forEach((bound, index) => {
    checkNumber(`${path}[${index}]`, bound);
    if (index > 0 && bound <= (value[index - 1] as number))
      throw badArgument(new RangeError(`${path}[${index}]: expected a bound above ${value[index - 1]}, got ${bound}`));
  });
}

type Labels<Label extends string> = Readonly<Record<Label, string>>;

class Metric<Label extends string> {
  readonly #handle: Handle<'metric'>;
  readonly #labelNames: readonly Label[];
  readonly #name: string;

  /** @internal */
  constructor(runtime: Handle<'runtime'>, scope: Scope, kind: string, options: HistogramOptions<Label>) {
    METRIC_OPTIONS.check(`metrics.${kind} options`, options);
    const { name, help, labelNames = [], labels = {}, buckets } = options;
    const args = pack({ ...scope, kind, name, help, labelNames, labels: Object.entries(labels), buckets });
    this.#handle = invokeSync(native.runtimeMetric, `metrics.${kind}`, { handle: runtime, args });
    this.#labelNames = labelNames;
    this.#name = name;
  }

  protected change(verb: string, value: number, labels: Labels<Label> | undefined): void {
    const operation = `metric ${this.#name}.${verb}`;
    checkNumber(`${operation} value`, value);
    if (labels !== undefined) checkNames(`${operation} labels`, labels, this.#labelNames);
    const values = this.#labelNames.map((label) => {
      const given = labels?.[label];
      checkString(`${operation} labels.${label}`, given);
      return given;
    });
    invokeSync(native.metricChange, operation, { handle: this.#handle, args: pack({ verb, value, labels: values }) });
  }
}

/** A Prometheus counter. Its value only rises. */
export class Counter<Label extends string = never> extends Metric<Label> {
  /** Adds `by`, which must not be negative. Every label of `labelNames` needs a value. @throws TypeError */
  increment(by = 1, labels?: Labels<Label>): void {
    this.change('add', by, labels);
  }
}

/** A Prometheus gauge. Its value rises and falls. */
export class Gauge<Label extends string = never> extends Metric<Label> {
  /** Sets the value. */
  set(value: number, labels?: Labels<Label>): void {
    this.change('set', value, labels);
  }

  /** Adds to the value. A negative number lowers it. */
  add(value: number, labels?: Labels<Label>): void {
    this.change('add', value, labels);
  }
}

/** A Prometheus histogram. It counts the observed values by bucket. */
export class Histogram<Label extends string = never> extends Metric<Label> {
  /** Counts a value in its bucket. */
  observe(value: number, labels?: Labels<Label>): void {
    this.change('observe', value, labels);
  }
}

/** The source of custom metrics text. Without `render` it is only `set`. */
export interface MetricsTextOptions {
  /**
   * Returns the text, in Prometheus's exposition format, for each read of `/metrics`. An example is the `metrics` of a
   * `prom-client` registry. If it throws, the text is omitted and the log has the reason.
   */
  readonly render?: () => Awaitable<string>;
  /** How long `/metrics` waits for `render`. After that it shows the last text. @default 100 */
  readonly timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 100;

const TEXT_OPTIONS: OptionTable<MetricsTextOptions> = optionTable<MetricsTextOptions>({
  render: callback<() => Awaitable<string>>().about('Returns the text for each read of `/metrics`.'),
  timeoutMs: milliseconds(1, 60_000).about('How long `/metrics` waits for `render`.'),
});

const NO_BYTES = new Uint8Array();

/** Custom Prometheus text beside Dynamo's. `/metrics` shows the text that was set or rendered last. */
export class MetricsText {
  readonly #handle: Handle<'metricsText'>;
  /** @internal Receives the requests to render. */
  readonly inbox: Inbox | undefined;

  /** @internal */
  constructor(runtime: Handle<'runtime'>, scope: Scope, options: MetricsTextOptions) {
    TEXT_OPTIONS.check('metrics.text options', options);
    const { render, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    const args = pack({ ...scope, ...(render === undefined ? {} : { timeoutMs }) });
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

/** The texts of each runtime. A scrape shows them even if the program has dropped the object. */
const texts = new WeakMap<Handle<'runtime'>, MetricsText[]>();

/** Ends the texts of a closed runtime. */
export function endTexts(runtime: Handle<'runtime'>): void {
  for (const text of texts.get(runtime) ?? []) text.inbox?.close();
  texts.delete(runtime);
}

/**
 * The metrics of one place in the hierarchy.
 *
 * @example
 * const calls = endpoint.metrics.counter({ name: 'calls_total', help: 'Calls by outcome.', labelNames: ['outcome'] });
 * calls.increment(1, { outcome: 'ok' });
 */
export class Metrics {
  readonly #runtime: Handle<'runtime'>;
  readonly #scope: Scope;

  /** @internal */
  constructor(runtime: Handle<'runtime'>, scope: Scope) {
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

  /** Adds custom text after the other metrics, until the runtime is closed. */
  text(options: MetricsTextOptions = {}): MetricsText {
    const text = new MetricsText(this.#runtime, this.#scope, options);
    texts.set(this.#runtime, [...(texts.get(this.#runtime) ?? []), text]);
    return text;
  }
}

/** All metrics of a runtime as Prometheus text. */
export function expose(runtime: Handle<'runtime'>): string {
  return textFrom(invokeSync(native.runtimeMetrics, 'runtime.metricsText', { handle: runtime }));
}
