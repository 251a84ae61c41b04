import {
  checkArray,
  checkBoolean,
  checkFunction,
  checkInstanceId,
  checkInteger,
  checkObject,
  checkOneOf,
  checkRange,
  checkSignal,
  checkString,
  checkStringMap,
  MAX_TIMEOUT_MS,
} from './check.js';
import { badArgument } from './errors.js';

/** Checks one value. Throws a TypeError or RangeError that starts with `path`. */
export type Check = (path: string, value: unknown) => void;

/** How a value is written on a command line or in a variable; `none` if it cannot be. */
export type OptionKind = 'text' | 'integer' | 'number' | 'boolean' | 'list' | 'none';

declare const valueType: unique symbol;

/** One row of an option table: the check of the value, its other sources, and its meaning. */
export class Option<Value, Needed extends boolean = false> {
  /** Invariant: the check must accept exactly the values of the option's type. */
  declare readonly [valueType]: (value: Value) => Value;

  constructor(
    readonly kind: OptionKind,
    /** The accepted values in words, such as `an integer of at least 1`. */
    readonly expected: string,
    readonly check: Check,
    /** Environment variables that carry the value. */
    readonly variables: readonly string[] = [],
    /** One sentence for references and `--help`. */
    readonly summary: string = '',
    readonly isRequired: Needed = false as Needed,
  ) {}

  /** The environment variables from which the crates read this value. */
  env(...variables: string[]): Option<Value, Needed> {
    return new Option(this.kind, this.expected, this.check, variables, this.summary, this.isRequired);
  }

  /** The sentence that references and `--help` show. */
  about(summary: string): Option<Value, Needed> {
    return new Option(this.kind, this.expected, this.check, this.variables, summary, this.isRequired);
  }

  /** The same option, which must be present. */
  required(): Option<Value, true> {
    return new Option(this.kind, this.expected, this.check, this.variables, this.summary, true);
  }
}

/** One row for every field of `Options`, and no other row. Anything else does not compile. */
export type OptionRows<Options> = {
  readonly [Name in keyof Options]-?: Record<never, never> extends Pick<Options, Name>
    ? Option<Exclude<Options[Name], undefined>>
    : Option<Options[Name], true>;
};

type Row = Option<unknown, boolean>;

/** The rows of one options object. */
export class OptionTable<Options extends object> {
  readonly names: readonly string[];
  readonly #required: readonly string[];
  readonly #rows: ReadonlyMap<string, Row>;

  constructor(rows: OptionRows<Options>) {
    this.#rows = new Map(Object.entries(rows as unknown as Record<string, Row>));
    this.names = [...this.#rows.keys()];
    this.#required = this.names.filter((name) => this.#rows.get(name)?.isRequired === true);
  }

  /**
   * Checks the names and the values of an options object. A value of `undefined` counts as absent.
   *
   * @throws TypeError, RangeError
   */
  check(path: string, options: unknown): asserts options is Options {
    checkObject(path, options);
    for (const name of Object.keys(options)) {
      const row = this.#rows.get(name);
      if (row === undefined)
        throw badArgument(new TypeError(`${path}.${name}: unknown option; known are ${this.names.join(', ')}`));
      const value = options[name];
      if (value !== undefined) row.check(`${path}.${name}`, value);
    }
    for (const name of this.#required)
      if (options[name] === undefined) this.#rows.get(name)?.check(`${path}.${name}`, undefined);
  }

  row(name: keyof Options & string): Row {
    return this.#rows.get(name) as Row;
  }

  /** The options that can be written as text, with their command-line flags. */
  flags(): { readonly flag: string; readonly name: string; readonly option: Row }[] {
    return [...this.#rows]
      .map(([name, option]) => ({ flag: flagOf(name), name, option }))
      .filter(({ option }) => option.kind !== 'none');
  }

  /** The environment variables of the options that are present, each with its value as text. */
  variables(options: Readonly<Partial<Options>>): Record<string, string> {
    const values: Record<string, string> = {};
    for (const [name, value] of Object.entries(options)) {
      if (value === undefined) continue;
      for (const variable of this.#rows.get(name)?.variables ?? []) values[variable] = String(value);
    }
    return values;
  }
}

/** The flag of an option: `maxQueued` is `--max-queued`. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

export function optionTable<Options extends object>(rows: OptionRows<Options>): OptionTable<Options> {
  return new OptionTable(rows);
}

function range(noun: string, min: number | undefined, max: number | undefined): string {
  if (min !== undefined && max !== undefined) return `${noun} from ${min} to ${max}`;
  return min === undefined ? noun : `${noun} of at least ${min}`;
}

export function integer(min: number, max?: number): Option<number> {
  return new Option('integer', range('an integer', min, max), (path, value) => checkInteger(path, value, min, max));
}

export function number(min: number, max?: number): Option<number> {
  return new Option('number', range('a number', min, max), (path, value) => checkRange(path, value, min, max));
}

/** Milliseconds, up to the longest timer. */
export function milliseconds(min = 0, max = MAX_TIMEOUT_MS): Option<number> {
  return integer(min, max);
}

export const text: Option<string> = new Option('text', 'a string', checkString);

export const boolean: Option<boolean> = new Option('boolean', 'a boolean', checkBoolean);

export function oneOf<const Choices extends readonly string[]>(...choices: Choices): Option<Choices[number]> {
  return new Option('text', `one of ${choices.join(', ')}`, (path, value) => checkOneOf(path, value, choices));
}

/** An array, each of whose items passes the check of `item`. `plural` names the items in messages. */
export function listOf<Item>(item: Option<Item>, plural?: string): Option<readonly Item[]> {
  const items = plural ?? `values, each ${item.expected}`;
  return new Option('list', `an array of ${items}`, (path, value) => {
    checkArray(path, value, items);
    value.forEach((each, index) => item.check(`${path}[${index}]`, each));
  });
}

/** An object whose values are strings. */
export const stringMap: Option<Readonly<Record<string, string>>> = new Option(
  'none',
  'an object of strings',
  checkStringMap,
);

/** An object with its own table. */
export function nested<Options extends object>(table: OptionTable<Options>): Option<Options> {
  return new Option('none', 'an object', (path, value) => table.check(path, value));
}

/** An object whose field `kind` selects its table. */
export function variants<Options extends { readonly kind: string }>(
  tables: {
    readonly [Kind in Options['kind']]: OptionTable<Extract<Options, { readonly kind: Kind }>>;
  },
): Option<Options> {
  const kinds = Object.keys(tables) as Options['kind'][];
  return new Option('none', `an object of kind ${kinds.join(', ')}`, (path, value) => {
    checkObject(path, value);
    const { kind } = value;
    checkOneOf(`${path}.kind`, kind, kinds);
    const table: OptionTable<Extract<Options, { readonly kind: typeof kind }>> = tables[kind];
    table.check(path, value);
  });
}

// biome-ignore lint/suspicious/noExplicitAny: any function; TypeScript has checked its parameters.
export function callback<Function extends (...args: any[]) => unknown>(): Option<Function> {
  return new Option('none', 'a function', checkFunction);
}

export const signal: Option<AbortSignal> = new Option('none', 'an AbortSignal', checkSignal);

/** The id of an instance. */
export const instanceId: Option<bigint> = new Option('none', 'an instance id (a bigint)', checkInstanceId);

/** A value with its own check. */
export function custom<Value>(expected: string, check: Check, kind: OptionKind = 'none'): Option<Value> {
  return new Option(kind, expected, check);
}

/** The value of `option`, or null. */
export function nullable<Value>(option: Option<Value>): Option<Value | null> {
  return new Option(option.kind, `${option.expected}, or null`, (path, value) => {
    if (value !== null) option.check(path, value);
  });
}

/** Any value. */
export const anything: Option<unknown> = custom('any value', () => {});

/** Options without the undefined ones: the native side has its own defaults for absent ones. */
export function defined(options: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
