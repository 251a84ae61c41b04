/** What the tests against real vLLM have seen: rows of the table in docs/vllm.md. */
const rows: string[][] = [];

export function seen(what: string, result: string): void {
  rows.push([what, result]);
  console.log(`| ${what} | ${result} |`);
}

export const exponent = (value: number): string => (value === 0 ? '0' : value.toExponential(1));
export const milliseconds = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
