interface Step {
  readonly inputs: readonly string[];
  readonly output: string;
  readonly otherwise?: string;
  readonly run: () => Promise<void>;
}

export const steps: Record<string, Step>;
export function ensure(name: string, options?: { readonly force?: boolean }): Promise<boolean>;
export function isDone(name: string): boolean;
