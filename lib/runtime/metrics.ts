import { checkNumber, checkOptions, checkString, checkStringMap } from '../addon/check.js';
import { pack, text, textBytes } from '../addon/codec.js';
import { invokeSync, native } from '../addon/invoke.js';
import type { Handle } from '../addon/native.js';
import type { Scope } from './events.js';

export interface MetricOptions<Label extends string = string> {
  /** Without Dynamo's prefix: `dynamo_component_` is put before it. */
  readonly name: string;
  readonly help: string;
  /** Labels whose values are given with each change. */
  readonly labelNames?: readonly Label[];
  /** Labels with one value for good. Dynamo adds namespace, component, endpoint and worker id itself. */
  readonly labels?: Readonly<Record<string, string>>;
}

export interface HistogramOptions<Label extends string = string> extends MetricOptions<Label> {
  /** Upper bounds, ascending. @default Prometheus's own */
  readonly buckets?: readonly number[];
}

type Labels<Label extends string> = Readonly<Record<Label, string>>;

class Metric<Label extends string> {
  readonly #handle: Handle;
  readonly #labelNames: readonly Label[];
  readonly #name: string;

  constructor(runtime: Handle, scope: Scope, kind: string, options: HistogramOptions<Label>) {
    const path = `metrics.${kind} options`;
    checkOptions(path, options, ['name', 'help', 'labelNames', 'labels', 'buckets']);
    const { name, help, labelNames = [], labels = {}, buckets } = options;
    checkString(`${path}.name`, name);
    checkString(`${path}.help`, help);
    checkStringMap(`${path}.labels`, labels);
    labelNames.forEach((label, index) => checkString(`${path}.labelNames[${index}]`, label));
    buckets?.forEach((bound, index) => checkNumber(`${path}.buckets[${index}]`, bound));
    const args = pack({ ...scope, kind, name, help, labelNames, labels: Object.entries(labels), buckets });
    this.#handle = invokeSync(native.runtimeMetric, `metrics.${kind}`, { handle: runtime, args });
    this.#labelNames = labelNames;
    this.#name = name;
  }

  protected change(verb: string, value: number, labels: Labels<Label> | undefined): void {
    const operation = `metric ${this.#name}.${verb}`;
    checkNumber(`${operation} value`, value);
    const values = this.#labelNames.map((label) => {
      const given = labels?.[label];
      checkString(`${operation} labels.${label}`, given);
      return given;
    });
    invokeSync(native.metricChange, operation, { handle: this.#handle, args: pack({ verb, value, labels: values }) });
  }
}

export class Counter<Label extends string = never> extends Metric<Label> {
  increment(by = 1, labels?: Labels<Label>): void {
    this.change('add', by, labels);
  }
}

export class Gauge<Label extends string = never> extends Metric<Label> {
  set(value: number, labels?: Labels<Label>): void {
    this.change('set', value, labels);
  }

  add(value: number, labels?: Labels<Label>): void {
    this.change('add', value, labels);
  }
}

export class Histogram<Label extends string = never> extends Metric<Label> {
  observe(value: number, labels?: Labels<Label>): void {
    this.change('observe', value, labels);
  }
}

/** Prometheus text of your own beside Dynamo's: `/metrics` shows what was set last, and never waits for JavaScript. */
export class MetricsText {
  readonly #handle: Handle;

  constructor(runtime: Handle, scope: Scope) {
    this.#handle = invokeSync(native.runtimeMetricsText, 'metrics.text', { handle: runtime, args: pack(scope) });
  }

  set(exposition: string): void {
    checkString('metrics.text set', exposition);
    invokeSync(native.metricsTextSet, 'metrics.text', { handle: this.#handle, payload: textBytes(exposition) });
  }
}

/** The metrics of one place in the hierarchy. */
export class Metrics {
  readonly #runtime: Handle;
  readonly #scope: Scope;

  /** @internal */
  constructor(runtime: Handle, scope: Scope) {
    this.#runtime = runtime;
    this.#scope = scope;
  }

  counter<Label extends string = never>(options: MetricOptions<Label>): Counter<Label> {
    return new Counter<Label>(this.#runtime, this.#scope, 'counter', options);
  }

  gauge<Label extends string = never>(options: MetricOptions<Label>): Gauge<Label> {
    return new Gauge<Label>(this.#runtime, this.#scope, 'gauge', options);
  }

  histogram<Label extends string = never>(options: HistogramOptions<Label>): Histogram<Label> {
    return new Histogram<Label>(this.#runtime, this.#scope, 'histogram', options);
  }

  /** A place for text of your own, shown behind the others'. */
  text(): MetricsText {
    return new MetricsText(this.#runtime, this.#scope);
  }
}

/** All metrics of a runtime as Prometheus text. */
export function expose(runtime: Handle): string {
  return text(invokeSync(native.runtimeMetrics, 'runtime.metricsText', { handle: runtime }));
}
