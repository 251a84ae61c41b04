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
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

const keyOf = (part: PropertyKey | { readonly key: PropertyKey }): PropertyKey =>
  typeof part === 'object' ? part.key : part;

/** A path as JavaScript writes it: `request.items[0].text`. */
function placeOf(path: string, { path: parts = [] }: SchemaIssue): string {
  return parts
    .map(keyOf)
    .reduce<string>((text, key) => (typeof key === 'number' ? `${text}[${key}]` : `${text}.${String(key)}`), path);
}

/**
 * The value that a schema makes of `value`.
 *
 * @throws DynamoError `DYN_INVALID_REQUEST` that lists all faults, each with the path of its field
 */
export async function validate<Output>(path: string, schema: Schema<unknown, Output>, value: unknown): Promise<Output> {
  const result = await schema['~standard'].validate(value);
  if (result.issues === undefined) return result.value;
  const faults = result.issues.map((issue) => `${placeOf(path, issue)}: ${issue.message}`);
  throw new DynamoError('InvalidRequest', faults.join('; '), { reason: 'request.invalid' });
}
