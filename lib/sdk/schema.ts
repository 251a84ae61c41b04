import { DynamoError } from '../errors.js';

/** One fault that a schema found. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** The result of a schema: the value, or the faults. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/**
 * A Standard Schema of version 1. The schemas of zod, valibot and arktype are such.
 *
 * `Input` is the type before the check, which callers send. `Output` is the type after it, which handlers receive.
 */
export interface Schema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    /** Checks a value. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** A schema that also describes what it accepts as JSON Schema, as those of zod 4 do. */
interface DescribedSchema {
  readonly '~standard': {
    readonly jsonSchema?: { readonly input: (options: { readonly target: string }) => Record<string, unknown> };
  };
}

const keyOf = (part: PropertyKey | { readonly key: PropertyKey }): PropertyKey =>
  typeof part === 'object' ? part.key : part;

/** The keys that lead to a fault. */
export const keysOf = ({ path = [] }: SchemaIssue): readonly PropertyKey[] => path.map(keyOf);

/** A path as JavaScript writes it: `request.items[0].text`. */
export const pathOf = (path: string, keys: readonly PropertyKey[]): string =>
  keys.reduce<string>((text, key) => (typeof key === 'number' ? `${text}[${key}]` : `${text}.${String(key)}`), path);

/**
 * The value that a schema makes of `value`.
 *
 * @throws DynamoError `DYN_INVALID_REQUEST` that lists all faults, each with the path of its field
 */
export async function validate<Output>(path: string, schema: Schema<unknown, Output>, value: unknown): Promise<Output> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  const faults = result.issues.map((issue) => `${pathOf(path, keysOf(issue))}: ${issue.message}`);
  throw new DynamoError('InvalidRequest', faults.join('; '), { reason: 'request.invalid' });
}

/** A key that a schema does not declare, with the keys that it declares in the same object. */
export interface UnknownKey {
  readonly keys: readonly string[];
  readonly known: readonly string[];
}

type Objects = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Objects =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function unknownIn(described: unknown, value: unknown, keys: readonly string[]): UnknownKey[] {
  if (!isObject(described) || !isObject(value) || !isObject(described.properties)) return [];
  const { properties, additionalProperties = false } = described;
  return Object.entries(value).flatMap(([key, inner]) => {
    const path = [...keys, key];
    if (Object.hasOwn(properties, key)) return unknownIn(properties[key], inner, path);
    return additionalProperties === false ? [{ keys: path, known: Object.keys(properties) }] : [];
  });
}

/** The keys of a value that its schema would drop in silence. None if the schema cannot describe itself. */
export function unknownKeysOf(schema: Schema, value: unknown): readonly UnknownKey[] {
  const { jsonSchema } = (schema as DescribedSchema)['~standard'];
  if (jsonSchema === undefined) return [];
  try {
    return unknownIn(jsonSchema.input({ target: 'draft-2020-12' }), value, []);
  } catch {
    return [];
  }
}
