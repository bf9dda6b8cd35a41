import type { Screen } from "./hub.ts";

export default {
  "shows health, memory, queue, speed and events": async (hub) => {
    await hub.review("/", "overview", async (page) => {
      await page.getByText("may be taken").waitFor();
      await page.getByRole("region", { name: "inference" }).getByText("serving").waitFor();
      await page.getByText("up ", { exact: false }).first().waitFor();
      await page.getByRole("heading", { name: "Recent events" }).waitFor();
      await page.locator(".uplot").nth(1).waitFor();
    });
  },
} satisfies Screen;
