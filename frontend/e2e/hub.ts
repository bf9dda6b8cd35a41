/** What a screen's checks get: pages of one browser on one running hub. */

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENS = new URL("./screens/", import.meta.url).pathname;

export const SIZES = { wide: { width: 1280, height: 800 }, narrow: { width: 390, height: 844 } } as const;
const COLOURS = ["color-contrast", "link-in-text-block"];
/** A model without a gate is answered by a 404, which the browser logs. */
const NO_GATE = /\/models\/\d+\/gate$/;
export type Theme = "light" | "dark";
export interface Look { size?: keyof typeof SIZES; theme?: Theme }

/** A file under e2e/ named *.screen.ts exports one of these: names that say what must hold. */
export type Screen = Record<string, (hub: Hub) => Promise<void>>;

export class Hub {
  /** Where the hub is, without /ui/. */
  readonly url: string;
  private readonly browser: Browser;
  private readonly errors = new Map<Page, string[]>();
  private opened: Page[] = [];

  constructor(browser: Browser, url: string) {
    this.browser = browser;
    this.url = url;
  }

  /** Opens a path below /ui; whatever the page logs as an error fails the check. */
  async open(path: string, { size = "wide", theme = "light" }: Look = {}): Promise<Page> {
    const context = await this.browser.newContext({ viewport: SIZES[size], colorScheme: theme, reducedMotion: "reduce" });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => message.type() === "error" && !NO_GATE.test(message.location().url) && errors.push(`${message.text()} (${message.location().url})`));
    this.errors.set(page, errors);
    this.opened.push(page);
    await page.goto(`${this.url}/ui${path}`);
    return page;
  }

  /** Closes every page; gives what they logged as errors, but for what was expected. */
  async close(): Promise<string[]> {
    const found = this.opened.flatMap((page) => this.errors.get(page) ?? []);
    await Promise.all(this.opened.map((page) => page.context().close()));
    this.opened = [];
    return found;
  }

  /** Takes these errors as meant, such as those of a connection that the check itself cut. */
  expectErrors(page: Page): void {
    this.errors.set(page, []);
  }

  /** Fails on any violation of WCAG 2 A and AA that axe finds; on request it looks at these rules alone. */
  async axe(page: Page, rules?: string[]): Promise<void> {
    const runOnly = rules ? { type: "rule", values: rules } : ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const found = await page.evaluate(async ([source, runOnly]) => {
      // The page's policy forbids scripts; the debugger's own evaluation is none of the page's.
      (0, eval)(source as string);
      const axe = (window as unknown as { axe: { run: (c: Document, o: object) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> } }).axe;
      const { violations } = await axe.run(document, { runOnly });
      return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}\n  ${node.failureSummary}`));
    }, [AXE, runOnly] as const);
    if (found.length) throw new Error(found.join("\n"));
  }

  /** Takes a picture for the eye, into e2e/screens (not committed). */
  async shot(page: Page, name: string): Promise<void> {
    mkdirSync(SCREENS, { recursive: true });
    await page.screenshot({ path: `${SCREENS}${name}.png` });
  }

  /** Looks at a path in both sizes and both themes: axe, no sideways scrolling, a picture. */
  async review(path: string, name: string, ready: (page: Page) => Promise<unknown>): Promise<void> {
    for (const size of Object.keys(SIZES) as (keyof typeof SIZES)[]) {
      const page = await this.open(path, { size });
      await ready(page);
      for (const theme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme: theme });
        // The page takes it up by an event: before, axe would see colours of both themes.
        await page.waitForFunction((wanted) => document.documentElement.dataset.theme === wanted, theme);
        // The other theme is the same page in other colours.
        await this.axe(page, theme === "dark" ? COLOURS : undefined);
        await this.shot(page, `${name}-${size}-${theme}`);
      }
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) throw new Error(`${path} is ${over} pixels too wide at ${SIZES[size].width}`);
    }
  }
}
