/** First loads by a browser that knows nothing of the hub: node load.ts URL CHROMIUM ROUNDS PATH…. One line of JSON for each. */

import { chromium } from "playwright-core";

const [url = "", executablePath = "", rounds = "5", ...paths] = process.argv.slice(2);
const SETTLED_MS = 1500; // after it is interactive: later shifts and paints count too

interface Marks { hydrated: number; interactive: number; lcp: number; cls: number; dcl: number }

/** Runs in the page before all else. React marks what it has hydrated; the first idle time after it is ours to use. */
function watch(): void {
  const marks = ((window as unknown as { marks: Marks }).marks = { hydrated: 0, interactive: 0, lcp: 0, cls: 0, dcl: 0 });
  const observe = (type: string, take: (entry: PerformanceEntry) => void) =>
    new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
  observe("largest-contentful-paint", (entry) => (marks.lcp = entry.startTime));
  observe("layout-shift", (entry) => (marks.cls += (entry as unknown as { value: number }).value));
  addEventListener("DOMContentLoaded", () => (marks.dcl = performance.now()));
  const timer = setInterval(() => {
    const button = document.querySelector("header button");
    if (!button || !Object.keys(button).some((key) => key.startsWith("__reactProps$"))) return;
    clearInterval(timer);
    marks.hydrated = performance.now();
    requestIdleCallback(() => (marks.interactive = performance.now()));
  }, 4);
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-background-networking", "--disable-gpu"] });
for (let round = 0; round < Number(rounds); round += 1) {
  for (const path of paths) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    const wire = await context.newCDPSession(page);
    const scripts = new Set<string>();
    let script = 0;
    wire.on("Network.responseReceived", ({ requestId, type }) => type === "Script" && scripts.add(requestId));
    wire.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => scripts.has(requestId) && (script += encodedDataLength));
    await wire.send("Network.enable");
    await page.addInitScript(watch);
    await page.goto(`${url}/ui${path}`);
    await page.waitForFunction(() => (window as unknown as { marks: Marks }).marks.interactive > 0, undefined, { timeout: 60_000 });
    await page.waitForTimeout(SETTLED_MS);
    const marks = await page.evaluate(() => (window as unknown as { marks: Marks }).marks);
    console.log(JSON.stringify({ path, round, script, ...marks }));
    await context.close();
  }
}
await browser.close();
