import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/** Prints each skip with its reason, then `N passed, N failed, N skipped` as the last line of the run. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const count = { passed: 0, failed: unhandled.length, skipped: 0 };
    const skips: string[] = [];

    for (const module of modules) {
      count.failed += module.errors().length;
      for (const suite of module.children.allSuites()) count.failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed' || result.state === 'failed') {
          count[result.state] += 1;
        } else {
          count.skipped += 1;
          const reason = (result.state === 'skipped' && result.note) || 'no reason given';
          skips.push(`skipped: ${module.relativeModuleId} > ${test.fullName}: ${reason}`);
        }
      }
    }

    const lines = [...skips, `${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`];
    process.once('exit', () => process.stdout.write(`${lines.join('\n')}\n`));
  }
}
