export interface LintStep {
  readonly name: string;
  /** Undefined if its program is missing. */
  readonly command?: readonly string[] | undefined;
  /** How to get the missing program. */
  readonly missing?: string;
  readonly cwd?: string;
}

export function runSteps(steps: readonly LintStep[], print?: (line: string) => void): Promise<string[]>;
