// Asks a frontend for a chat completion.
import { setTimeout as delay } from 'node:timers/promises';

const NOT_READY_MS = 10_000;

/**
 * Returns the answer to a chat completion. A frontend that has just found a prefill worker lists its model, and answers
 * 503 for the milliseconds until it is connected to that worker: so this asks again.
 *
 * @throws Error with the status and the text of any other answer that is not 200
 */
export async function chat(url: string, body: object): Promise<Response> {
  const deadline = performance.now() + NOT_READY_MS;
  for (;;) {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (response.ok) return response;
    const text = await response.text();
    if (response.status !== 503 || performance.now() > deadline) throw new Error(`${response.status} ${text}`);
    await delay(50);
  }
}
