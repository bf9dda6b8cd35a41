/** Runs every *.screen.ts against a hub: node run.ts URL CHROMIUM [NAME…]. One line of JSON for each check. */

import { readdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { Hub, type Screen } from "./hub.ts";

const [url = "", executablePath = "", ...wanted] = process.argv.slice(2);
const FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu"];

const browser = await chromium.launch({ executablePath, args: FLAGS });
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".screen.ts")).sort();
for (const file of files) {
  const screen = file.replace(".screen.ts", "");
  if (wanted.length && !wanted.includes(screen)) continue;
  const { default: checks } = (await import(`./${file}`)) as { default: Screen };
  for (const [name, check] of Object.entries(checks)) {
    const hub = new Hub(browser, url);
    const began = Date.now();
    let error = "";
    try {
      await check(hub);
    } catch (thrown) {
      error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    }
    const logged = await hub.close();
    if (!error && logged.length) error = `logged in the page: ${logged.join("; ")}`;
    console.log(JSON.stringify({ screen, name, error, seconds: (Date.now() - began) / 1000 }));
  }
}
await browser.close();
