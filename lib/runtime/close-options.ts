import { milliseconds, type OptionTable, optionTable } from '../options.js';

/** How long a close waits. */
export interface CloseOptions {
  /** How long requests in flight may still run. Then their signal is aborted with `shutdown`. @default no limit */
  readonly timeoutMs?: number;
}

/** The options of one `close`, whose `timeoutMs` is at least `min`. */
export function closeOptions(min: number): OptionTable<CloseOptions> {
  return optionTable<CloseOptions>({
    timeoutMs: milliseconds(min).about('How long requests in flight may still run.'),
  });
}
