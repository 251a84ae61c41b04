import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const CHROMIUM = '/usr/bin/chromium';

/** A loaded machine may take long to start a renderer. */
const TIMEOUT_MS = 90_000;

/**
 * The path of the browser.
 *
 * @throws if it is missing: a page that no browser has shown is not tested, so its tests fail instead of being skipped
 */
export function browserProgram(path = CHROMIUM): string {
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: run \`node scripts/setup.mjs --test\`, or install the Debian package chromium`);
}

/** The page in a browser, with everything that it did wrong. */
export interface OpenPage {
  readonly page: Page;
  /** Errors and warnings of its console, errors that it did not catch, and dialogs that a script opened. */
  readonly faults: string[];
}

/** A headless Chromium with its own profile, which is removed with it. */
export class TestBrowser implements AsyncDisposable {
  readonly #folder: string;
  readonly #context: BrowserContext;

  private constructor(folder: string, context: BrowserContext) {
    this.#folder = folder;
    this.#context = context;
  }

  static async start(options: BrowserContextOptions = {}): Promise<TestBrowser> {
    const executablePath = browserProgram();
    const folder = mkdtempSync(join(tmpdir(), 'dashboard-browser-'));
    const context = await chromium.launchPersistentContext(folder, {
      executablePath,
      headless: true,
      viewport: { width: 1280, height: 800 },
      args: [
        ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
      ...options,
    });
    context.setDefaultTimeout(TIMEOUT_MS);
    return new TestBrowser(folder, context);
  }

  /**
   * Opens an address and waits until the page has drawn data. Closes the pages that were open before.
   *
   * @param script runs before those of the page
   */
  async open(url: string, script?: string): Promise<OpenPage> {
    const before = this.#context.pages();
    const page = await this.#context.newPage();
    await Promise.all(before.map((one) => one.close()));
    if (script !== undefined) await page.addInitScript(script);
    const faults: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') faults.push(message.text());
    });
    page.on('pageerror', (error) => faults.push(String(error)));
    page.on('dialog', async (dialog) => {
      faults.push(`dialog: ${dialog.message()}`);
      await dialog.dismiss();
    });
    await page.goto(url);
    await page.locator('#connection[data-state="live"]').waitFor();
    // The page draws its panels one after the other after the data have arrived, and the charts last.
    await page.locator('.chart:not(:has(canvas))').first().waitFor({ state: 'detached' });
    return { page, faults };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.close();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
