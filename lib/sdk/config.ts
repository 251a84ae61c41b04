import { checkInteger, checkString, wrongType } from '../check.js';
import {
  ConfigError,
  type ConfigPath,
  type ConfigSource,
  deepMerge,
  isSection,
  type Section,
} from './config-source.js';
import type { GraphSpec, ServiceSpec } from './graph-spec.js';
import { MAX_WORKERS, RESOURCES, type Resources } from './service-options.js';

/** What a configuration sets for one service. */
export interface ServiceConfig extends ServiceArgs {
  /** The parameters of the service, with those of `Common` that it lists. */
  readonly config: Section;
}

interface ServiceArgs {
  readonly workers?: number;
  readonly resources?: Resources;
  readonly image?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

/** What a configuration sets for the services of a graph. */
export interface GraphConfig {
  /** By the name of the service. */
  readonly services: Readonly<Record<string, ServiceConfig>>;
  /** Where a value comes from: `agg.yaml:12:15`, or its flag or variable. */
  readonly placeOf: ConfigSource['placeOf'];
}

const ARGS = 'ServiceArgs';
const COMMON = 'Common';
const COMMON_CONFIGS = 'common-configs';

/** Checks a value and returns it in its final form. */
type Leaf = (path: string, value: unknown) => unknown;
type Shape = Leaf | { readonly each: Leaf } | { readonly fields: Readonly<Record<string, Shape>> };

const checked =
  (check: (path: string, value: unknown) => void, convert = (value: unknown): unknown => value): Leaf =>
  (path, value) => {
    const converted = convert(value);
    check(path, converted);
    return converted;
  };

const toText = (value: unknown): unknown => (typeof value === 'number' ? String(value) : value);
const toNumber = (value: unknown): unknown =>
  typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? Number(value) : value;

const texts: Shape = {
  each: (path, value) => (typeof value === 'string' ? value : wrongType(path, 'text in quotes', value)),
};

const SERVICE_ARGS = {
  fields: {
    workers: checked((path, value) => checkInteger(path, value, 0, MAX_WORKERS)),
    resources: {
      fields: {
        cpu: checked(RESOURCES.row('cpu').check, toText),
        memory: checked(RESOURCES.row('memory').check, toText),
        gpu: checked(RESOURCES.row('gpu').check, toNumber),
      },
    },
    image: checked(checkString),
    env: texts,
    envs: texts,
    labels: texts,
  },
} as const satisfies Shape;

/** The keys of `ServiceArgs`. */
export const SERVICE_ARG_NAMES: readonly string[] = Object.keys(SERVICE_ARGS.fields);

const COMMON_NAMES: Leaf = (path, value) =>
  Array.isArray(value) && value.every((name) => typeof name === 'string')
    ? value
    : wrongType(path, `an array of names of '${COMMON}'`, value);

/** Reads the values of one source. All faults have the place of their value. */
class Reader {
  constructor(readonly source: ConfigSource) {}

  read(shape: Shape, path: ConfigPath, value: unknown): unknown {
    if (typeof shape === 'function') return this.#leaf(shape, path, value);
    const fieldOf = (key: string): Shape => {
      if ('each' in shape) return shape.each;
      if (Object.hasOwn(shape.fields, key)) return shape.fields[key] as Shape;
      throw this.unknown([...path, key], Object.keys(shape.fields));
    };
    const entries = Object.entries(this.section(path, value));
    return Object.fromEntries(entries.map(([key, inner]) => [key, this.read(fieldOf(key), [...path, key], inner)]));
  }

  /** An empty section of YAML is null. */
  section(path: ConfigPath, value: unknown): Section {
    if (value === null || value === undefined) return {};
    return isSection(value) ? value : (this.#leaf((at) => wrongType(at, 'an object', value), path, value) as Section);
  }

  unknown(path: ConfigPath, known: readonly string[]): ConfigError {
    const noun = path.length === 1 ? 'service' : 'key';
    const message = `${path.join('.')}: unknown ${noun}; known are ${known.join(', ')}`;
    return new ConfigError('config.unknown_key', this.source.placeOf(path, 'key'), message);
  }

  #leaf(leaf: Leaf, path: ConfigPath, value: unknown): unknown {
    try {
      return leaf(path.length === 0 ? 'the configuration' : path.join('.'), value);
    } catch (error) {
      throw new ConfigError('config.wrong_type', this.source.placeOf(path), (error as Error).message);
    }
  }
}

interface Read {
  readonly common: Section;
  /** By the name of the service: its `ServiceArgs`, and the rest of its section. */
  readonly args: Section;
  readonly config: Section;
  readonly listed: Section;
}

function readSource(services: readonly string[], source: ConfigSource): Read {
  const reader = new Reader(source);
  const { [COMMON]: common, ...sections } = reader.section([], source.data);
  const read = Object.entries(sections).map(([name, value]) => {
    if (!services.includes(name)) throw reader.unknown([name], [COMMON, ...services]);
    const { [ARGS]: args, [COMMON_CONFIGS]: listed, ...config } = reader.section([name], value);
    const { envs, env, ...rest } = reader.read(SERVICE_ARGS, [name, ARGS], args) as Record<string, Section>;
    const variables = env === undefined && envs === undefined ? {} : { env: { ...env, ...envs } };
    const names = listed === undefined ? {} : { listed: reader.read(COMMON_NAMES, [name, COMMON_CONFIGS], listed) };
    return { name, args: { ...rest, ...variables }, config, ...names };
  });
  const by = (field: 'args' | 'config' | 'listed'): Section =>
    Object.fromEntries(read.flatMap((one) => (one[field] === undefined ? [] : [[one.name, one[field]]])));
  return { common: reader.section([COMMON], common), args: by('args'), config: by('config'), listed: by('listed') };
}

/**
 * Merges the values of a configuration file, the command line and so on.
 *
 * Each has a section for each service. Its key `ServiceArgs` sets `workers`, `resources`, `image`, `env` (or `envs`)
 * and `labels`; the other keys are the parameters of the service. A service gets a key of the section `Common` if its
 * `common-configs` lists the key and its own section does not have it.
 *
 * @param services the names of the services of the graph
 * @param sources the weakest first, so usually the file and then the command line
 * @throws ConfigError `config.unknown_key`, `config.wrong_type` or `config.no_common` with the place of the value
 */
export function mergeConfig(services: readonly string[], sources: readonly ConfigSource[]): GraphConfig {
  const reads = sources.map((source) => readSource(services, source));
  const merged = (field: keyof Read): Section => reads.reduce<Section>((all, one) => deepMerge(all, one[field]), {});
  const [common, args, config, listed] = [merged('common'), merged('args'), merged('config'), merged('listed')];
  const placed: ConfigSource['placeOf'] = (path, part) =>
    sources.reduceRight<string | undefined>((found, one) => found ?? one.placeOf(path, part), undefined);

  const commonOf = (name: string): Section => {
    const names = (listed[name] ?? []) as readonly string[];
    const missing = names.findIndex((key) => !Object.hasOwn(common, key));
    if (missing !== -1) {
      const message = `${name}.${COMMON_CONFIGS}: '${COMMON}' has no key '${names[missing]}'`;
      throw new ConfigError('config.no_common', placed([name, COMMON_CONFIGS, missing]), message);
    }
    return Object.fromEntries(names.map((key) => [key, common[key]]));
  };
  const configOf = (name: string): ServiceConfig => ({
    ...(args[name] as ServiceArgs | undefined),
    config: { ...commonOf(name), ...(config[name] as Section | undefined) },
  });
  const named = services.filter((name) => Object.hasOwn(config, name));
  return {
    services: Object.fromEntries(named.map((name) => [name, configOf(name)])),
    placeOf: ([name = '', ...keys], part) => placed([name, ...keys], part) ?? placed([COMMON, ...keys], part),
  };
}

/**
 * A graph with the values of a configuration. They replace those of the code: numbers of workers, resources, images,
 * variables, labels and parameters. The parameters of a Python program become its arguments.
 */
export function applyConfig(spec: GraphSpec, config: GraphConfig): GraphSpec {
  const applied = (service: ServiceSpec): ServiceSpec => {
    const { config: parameters = {}, resources, env, labels, ...rest } = config.services[service.name] ?? {};
    const { python } = service;
    return {
      ...service,
      ...rest,
      resources: { ...service.resources, ...resources },
      env: { ...service.env, ...env },
      labels: { ...service.labels, ...labels },
      ...(python === undefined
        ? { config: deepMerge(service.config, parameters) }
        : { python: { ...python, args: [...python.args, ...argumentsOf(parameters)] } }),
    };
  };
  return { ...spec, services: spec.services.map(applied) };
}

/**
 * Parameters as arguments of a Python program: `block-size: 64` is `--block-size 64`, true is `--name`, false is
 * `--no-name`, null is left out, an array is one argument each, an object is JSON.
 */
export function argumentsOf(parameters: Section): readonly string[] {
  return Object.entries(parameters).flatMap(([name, value]) => {
    if (value === null) return [];
    if (typeof value === 'boolean') return [value ? `--${name}` : `--no-${name}`];
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    return [`--${name}`, ...values.map((one) => (typeof one === 'string' ? one : JSON.stringify(one)))];
  });
}
