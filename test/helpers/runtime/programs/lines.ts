import { createInterface } from 'node:readline';

/** Reports an event to the test that started this process. */
export function emit(event: string, fields: Record<string, unknown> = {}): void {
  const text = JSON.stringify({ event, ...fields }, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
  process.stdout.write(`${text}\n`);
}

/** The test's commands, until it closes this process's stdin. */
export async function* commands<T>(): AsyncGenerator<T> {
  for await (const line of createInterface({ input: process.stdin })) yield JSON.parse(line) as T;
}
