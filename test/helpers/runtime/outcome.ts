import { within } from '../wait.js';

/** The result of a call, or the error that it throws or rejects with. */
export async function outcome(call: () => unknown): Promise<unknown> {
  try {
    return await within(5000, 'the call', Promise.resolve(call()));
  } catch (error) {
    return error;
  }
}
