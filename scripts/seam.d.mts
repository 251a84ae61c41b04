/** The texts that declare or define native functions. */
export interface Seam {
  /** `lib/addon/native.ts` and the files of its folder. */
  readonly typescript: readonly string[];
  /** `native/core/include/dynamo_core.h`. */
  readonly header: string;
  /** `native/nixl/entries.h`. */
  readonly nixlHeader: string;
  /** The sources of `native/binding`. */
  readonly bindings: readonly string[];
  readonly rust: readonly { readonly file: string; readonly text: string }[];
  readonly nixl: readonly { readonly file: string; readonly text: string }[];
}

export function drifts(seam: Seam): string[];
export function readSeam(checkout?: string): Seam;
