import { absolute, call } from "./client";
import { readKey } from "./key";

/**
 * Saves a file of the hub's. Without an API key the browser streams it to the disk by itself; a key travels in
 * a header, which no link can send, so the file then comes by fetch and is held in memory until it is whole.
 */
export async function download(path: string, name: string): Promise<void> {
  if (!readKey()) return save(absolute(path), name);
  const url = URL.createObjectURL(await (await call(path)).blob());
  save(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function save(href: string, name: string): void {
  const link = document.createElement("a");
  link.href = href;
  link.download = name;
  link.click();
}
