import {
  checkArray,
  checkBoolean,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkRange,
  checkString,
  MAX_TIMEOUT_MS,
  wrongType,
} from './check.js';

/** Checks one value; throws a TypeError or RangeError that starts with `path`. */
export type Check = (path: string, value: unknown) => void;

/** How a value is written on a command line or in a variable; `none` if it cannot be. */
export type OptionKind = 'text' | 'integer' | 'number' | 'boolean' | 'list' | 'none';

declare const valueType: unique symbol;

/** One row of an option table: how its value is checked, where else it may come from, and what it means. */
export class Option<Value, Needed extends boolean = false> {
  /** Invariant: the check must accept exactly the values of the option's type. */
  declare readonly [valueType]: (value: Value) => Value;

  constructor(
    readonly kind: OptionKind,
    /** What the value must be, in words, such as `an integer of at least 1`. */
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

  about(summary: string): Option<Value, Needed> {
    return new Option(this.kind, this.expected, this.check, this.variables, summary, this.isRequired);
  }

  required(): Option<Value, true> {
    return new Option(this.kind, this.expected, this.check, this.variables, this.summary, true);
  }
}

/** Every field of `Options` has a row, and no other name has one; else it does not compile. */
export type OptionRows<Options> = {
  readonly [Name in keyof Options]-?: Record<never, never> extends Pick<Options, Name>
    ? Option<Exclude<Options[Name], undefined>>
    : Option<Options[Name], true>;
};

/** The rows of one options object. */
export class OptionTable<Options extends object> {
  readonly names: readonly string[];
  readonly #required: readonly string[];
  readonly #rows: Readonly<Record<string, Option<never, boolean>>>;

  constructor(rows: OptionRows<Options>) {
    this.#rows = rows as unknown as Readonly<Record<string, Option<never, boolean>>>;
    this.names = Object.keys(rows);
    this.#required = this.names.filter((name) => this.#rows[name]?.isRequired === true);
  }

  /**
   * Checks the names and the values of an options object. A value of `undefined` counts as absent.
   *
   * @throws TypeError, RangeError
   */
  check(path: string, options: unknown): asserts options is Options {
    checkObject(path, options);
    for (const name of Object.keys(options)) {
      const row = Object.hasOwn(this.#rows, name) ? this.#rows[name] : undefined;
      if (row === undefined) throw new TypeError(`${path}.${name}: unknown option; known are ${this.names.join(', ')}`);
      const value = options[name];
      if (value !== undefined) row.check(`${path}.${name}`, value);
    }
    for (const name of this.#required)
      if (options[name] === undefined) this.#rows[name]?.check(`${path}.${name}`, undefined);
  }

  row(name: keyof Options & string): Option<unknown, boolean> {
    return this.#rows[name] as unknown as Option<unknown, boolean>;
  }

  /** Command-line flags of the options that can be written as text. */
  flags(): { readonly flag: string; readonly name: string; readonly option: Option<unknown, boolean> }[] {
    return this.names
      .map((name) => ({ flag: flagOf(name), name, option: this.row(name as keyof Options & string) }))
      .filter(({ option }) => option.kind !== 'none');
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

/** Milliseconds that a timer takes. */
export function milliseconds(min = 0): Option<number> {
  return integer(min, MAX_TIMEOUT_MS);
}

export const text: Option<string> = new Option('text', 'a string', (path, value) => checkString(path, value));

export const boolean: Option<boolean> = new Option('boolean', 'a boolean', (path, value) => checkBoolean(path, value));

export function oneOf<const Choices extends readonly string[]>(...choices: Choices): Option<Choices[number]> {
  return new Option('text', `one of ${choices.join(', ')}`, (path, value) => checkOneOf(path, value, choices));
}

/** A list, each of whose items passes the check of `item`. */
export function listOf<Item>(item: Option<Item>): Option<readonly Item[]> {
  return new Option('list', `a list, each ${item.expected}`, (path, value) => {
    checkArray(path, value, item.expected);
    value.forEach((each, index) => item.check(`${path}[${index}]`, each));
  });
}

/** An object with a table of its own. */
export function nested<Options extends object>(table: OptionTable<Options>): Option<Options> {
  return new Option('none', 'an object', (path, value) => table.check(path, value));
}

// biome-ignore lint/suspicious/noExplicitAny: any function; TypeScript has checked its parameters.
export function callback<Function extends (...args: any[]) => unknown>(): Option<Function> {
  return new Option('none', 'a function', checkFunction);
}

export const signal: Option<AbortSignal> = new Option('none', 'an AbortSignal', (path, value) => {
  if (!(value instanceof AbortSignal)) wrongType(path, 'an AbortSignal', value);
});

/** A value with a check of its own. */
export function custom<Value>(expected: string, check: Check, kind: OptionKind = 'none'): Option<Value> {
  return new Option(kind, expected, check);
}

/** Options without those that are undefined: the native side has its own defaults for absent ones. */
export function defined(options: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
