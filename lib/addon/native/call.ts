declare const nounBrand: unique symbol;
declare const nameBrand: unique symbol;
declare const signature: unique symbol;

/** A native object of the kind that `Noun` names. Only native functions look into it. */
export interface Handle<Noun extends string = string> {
  readonly [nounBrand]: Noun;
}

/** A number with its meaning. `arg` makes it. */
export type Arg<Name extends string = string> = number & { readonly [nameBrand]: Name };

/** Names the meaning of a number, so that `a` and `b` of a call cannot be swapped. Returns the number. */
export function arg<const Name extends string>(_name: Name, value: number): Arg<Name> {
  return value as Arg<Name>;
}

export type Bytes = Uint8Array;
/** 32-bit little-endian words. The core reads them as their bytes. */
export type U32s = Uint32Array | Bytes;
/** 64-bit little-endian words. The core reads them as their bytes. */
export type U64s = BigUint64Array | Bytes;

/** What a call can carry: `dyn_call` in `native/core/include/dynamo_core.h`, `Call` in `native/nixl/call.h`. */
export interface CallParts {
  handle?: Handle;
  other?: Handle;
  args?: Bytes;
  payload?: U32s | U64s;
  a?: Arg;
  b?: Arg;
}

type NoParts = Record<never, never>;

/** The type of one part, or `undefined` if the function does not take it. */
type Part<Parts, Name extends keyof CallParts> = Name extends keyof Parts ? Parts[Name] : undefined;

/** The parts that a function takes, and no other. */
export type Exactly<Parts> = Parts & { readonly [Name in Exclude<keyof CallParts, keyof Parts>]?: undefined };

/** The parts as the rest of a parameter list. They can be left out if none is required. */
export type Given<Parts, Rest extends unknown[] = []> = NoParts extends Parts
  ? [parts?: Exactly<Parts>, ...Rest]
  : [parts: Exactly<Parts>, ...Rest];

/** Distinguishes synchronous from asynchronous functions, and carries what one takes and returns. Never present. */
interface Signature<Kind, Result, Parts> {
  readonly [signature]?: { kind: Kind; returns: Result; takes: (parts: Parts) => void };
}

/** A function that returns its result, or throws an error with `failure`. `invokeSync` calls it. */
export type Sync<Result, Parts = NoParts> = ((
  handle: Part<Parts, 'handle'>,
  args: Part<Parts, 'args'>,
  payload: Part<Parts, 'payload'>,
  a: Part<Parts, 'a'>,
  b: Part<Parts, 'b'>,
  other: Part<Parts, 'other'>,
) => Result) &
  Signature<'sync', Result, Parts>;

/** A function that returns the id of an operation, under which the result is delivered. `invoke` calls it. */
export type Async<Result, Parts = NoParts> = ((
  handle: Part<Parts, 'handle'>,
  args: Part<Parts, 'args'>,
  payload: Part<Parts, 'payload'>,
  a: Part<Parts, 'a'>,
  b: Part<Parts, 'b'>,
  other: Part<Parts, 'other'>,
  /** True if the operation alone must not keep the process alive. */
  background: boolean,
) => number) &
  Signature<'async', Result, Parts>;
