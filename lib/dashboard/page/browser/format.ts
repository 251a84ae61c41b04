/** What stands for a value that is not known. */
export const UNKNOWN = '–';

const significant = (value: number): string => {
  const size = Math.abs(value);
  if (size >= 100 || value === 0) return value.toFixed(0);
  return size >= 10 ? value.toFixed(1).replace(/\.0$/, '') : value.toFixed(2).replace(/\.?0+$/, '');
};

const scaled =
  (base: number, units: readonly string[], separator: string) =>
  (value: number | null | undefined): string => {
    if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
    let rest = value;
    let unit = 0;
    // A value that would be rounded up to the next unit has that unit.
    while (Math.abs(rest) >= base * 0.9995 && unit < units.length - 1) {
      rest /= base;
      unit++;
    }
    return `${significant(rest)}${units[unit] === '' ? '' : separator}${units[unit]}`;
  };

/** A number with at most three digits and a decimal prefix: `1.2k`. */
export const formatCount = scaled(1000, ['', 'k', 'M', 'G', 'T'], '');

/** Bytes with a binary prefix: `1.5 MiB`. */
export const formatBytes = scaled(1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB'], ' ');

const known = (value: number | null | undefined): value is number =>
  value !== null && value !== undefined && Number.isFinite(value);

/** Bytes a second. */
export const formatByteRate = (value: number | null | undefined): string =>
  known(value) ? `${formatBytes(value)}/s` : UNKNOWN;

/** A number a second. */
export const formatRate = (value: number | null | undefined): string =>
  known(value) ? `${formatCount(value)}/s` : UNKNOWN;

/** A share from 0 to 1 in percent. */
export const formatShare = (value: number | null | undefined): string =>
  known(value) ? `${(value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0)}%` : UNKNOWN;

/** Milliseconds as `0.42 ms`, `12.3 ms`, `1.23 s`, `12 min` or `3.5 h`. */
export function formatMs(ms: number | null | undefined): string {
  if (!known(ms)) return UNKNOWN;
  if (Math.abs(ms) < 999.5) return `${significant(ms)} ms`;
  if (Math.abs(ms) < 120_000) return `${significant(ms / 1000)} s`;
  return Math.abs(ms) < 7_200_000 ? `${significant(ms / 60_000)} min` : `${significant(ms / 3_600_000)} h`;
}

/** A whole number or an absent one. */
export const formatWhole = (value: number | null | undefined): string => (known(value) ? String(value) : UNKNOWN);

const two = (value: number): string => String(value).padStart(2, '0');

/** Milliseconds since 1970 as a local time of day. */
export function formatTime(atMs: number): string {
  const time = new Date(atMs);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** A count with its noun: `1 worker`, `2 workers`. */
export const formatNoun = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
