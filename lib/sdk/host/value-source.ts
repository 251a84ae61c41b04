import { type ItemSource, StreamItem } from '../../addon/stream.js';
import { ResponseStream } from '../../runtime/response.js';

const NO_BYTES = new Uint8Array();

/** An item that was already unpacked. */
export class ValueItem extends StreamItem {
  constructor(private readonly value: unknown) {
    super(false, NO_BYTES, 0, 0);
  }

  override unpack(): unknown {
    return this.value;
  }
}

type Stream = ResponseStream<unknown>;

/** Reads a stream, and another one in its place if it fails before its first item. */
class OtherwiseSource implements ItemSource {
  constructor(
    private current: Stream,
    private otherwise: ((error: unknown) => Stream | undefined) | undefined,
  ) {}

  async pull(): Promise<StreamItem[]> {
    try {
      const { done, value } = await this.current.next();
      this.otherwise = undefined;
      return done === true ? [] : [new ValueItem(value)];
    } catch (error) {
      const other = this.otherwise?.(error);
      this.otherwise = undefined;
      if (other === undefined) throw error;
      this.current = other;
      return this.pull();
    }
  }

  stop(): void {
    this.otherwise = undefined;
    this.current.stop();
  }

  kill(): void {
    this.otherwise = undefined;
    void this.current.kill();
  }
}

/**
 * A stream that continues with another one if it fails before its first item.
 *
 * @param otherwise sends the request again, or returns undefined if the error is the answer
 */
export function streamOtherwise(stream: Stream, otherwise: (error: unknown) => Stream | undefined): Stream {
  const source = new OtherwiseSource(stream, otherwise);
  return new ResponseStream(
    source,
    (item) => item.unpack(),
    () => {},
    stream.id,
  ).start();
}
