/** An object of values by name, such as a section of a configuration file. */
export type Section = Readonly<Record<string, unknown>>;

/** The keys that lead to a value: a service first. */
export type ConfigPath = readonly (string | number)[];

/** Values from one place: a file, the command line or a variable. */
export interface ConfigSource {
  readonly data: unknown;
  /** Where a value or its key stands, such as `agg.yaml:12:15`. Undefined for a value that the source does not have. */
  readonly placeOf: (path: ConfigPath, part?: 'key' | 'value') => string | undefined;
}

/** A fault of a configuration. `reason` is stable, such as `config.unknown_key`. */
export class ConfigError extends TypeError {
  override readonly name = 'ConfigError';
  readonly code = 'DYN_BAD_CONFIG';

  constructor(
    readonly reason: string,
    /** Where the value stands: `agg.yaml:12:15`, or the flag or the variable that it comes from. */
    readonly place: string | undefined,
    message: string,
  ) {
    super(place === undefined ? message : `${message} (${place})`);
  }
}

export const isSection = (value: unknown): value is Section =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Values of `over` replace those of `base`. Objects are merged at any depth, arrays are replaced. */
export function deepMerge(base: Section, over: Section): Section {
  const merged = Object.entries(over).map(([key, value]) => {
    const old = Object.hasOwn(base, key) ? base[key] : undefined;
    return [key, isSection(old) && isSection(value) ? deepMerge(old, value) : value] as const;
  });
  return Object.fromEntries([...Object.entries(base), ...merged]);
}
