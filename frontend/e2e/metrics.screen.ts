import assert from "node:assert/strict";
import type { Screen } from "./hub.ts";

export default {
  "shows live lines, and says where there are none": async (hub) => {
    await hub.review("/metrics/", "metrics", async (page) => {
      await page.getByRole("figure", { name: "CPU" }).getByText(/%$/).waitFor();
      await page.getByRole("figure", { name: "Calls per second" }).getByText(/\/s$/).first().waitFor();
      await page.getByText(/^Only (macOS|Linux) tells/).first().waitFor();
    });
  },

  "keeps its looks over other pages, holds still when paused, and has its window in the URL": async (hub) => {
    const page = await hub.open("/metrics/");
    await page.getByRole("figure", { name: "CPU" }).getByText(/%$/).waitFor();
    await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Overview" }).click();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    await page.route("**/metrics", (route) => route.abort());
    await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Metrics" }).click();
    await page.getByRole("figure", { name: "CPU" }).getByText(/%$/).waitFor();
    await page.unroute("**/metrics");
    hub.expectErrors(page);

    await page.getByRole("button", { name: "Pause" }).click();
    const legend = page.getByRole("figure", { name: "Memory of processes" });
    const text = await legend.textContent();
    await page.waitForResponse("**/metrics");
    await page.waitForResponse("**/metrics");
    assert.equal(await legend.textContent(), text);
    await page.getByRole("button", { name: "Go on" }).click();

    await page.getByRole("combobox", { name: "Time shown" }).click();
    await page.getByRole("option", { name: "Last 15 min" }).click();
    await page.waitForURL("**/metrics/?minutes=15");
  },
} satisfies Screen;
