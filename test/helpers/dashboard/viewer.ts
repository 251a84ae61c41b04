/** A viewer of the events of a dashboard. */
export interface EventViewer {
  readonly events: readonly { readonly event: string; readonly data: unknown }[];
  /** What was received. */
  readonly bytes: number;
  close(): void;
}

/** Opens the event stream and reads it until `close`. */
export async function openEvents(origin: string): Promise<EventViewer> {
  const abort = new AbortController();
  const response = await fetch(`${origin}/api/events`, { signal: abort.signal });
  if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
  const events: { event: string; data: unknown }[] = [];
  let bytes = 0;
  const read = async (): Promise<void> => {
    let text = '';
    const decoder = new TextDecoder();
    for await (const part of response.body as unknown as AsyncIterable<Uint8Array>) {
      bytes += part.length;
      text += decoder.decode(part, { stream: true });
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const [, event] = /^event: (.*)$/m.exec(block) ?? [];
        const [, data] = /^data: (.*)$/m.exec(block) ?? [];
        if (event !== undefined && data !== undefined) events.push({ event, data: JSON.parse(data) });
      }
    }
  };
  read().catch(() => {});
  return {
    events,
    get bytes() {
      return bytes;
    },
    close: () => abort.abort(),
  };
}
