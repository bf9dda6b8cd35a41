import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { download } from "./download";
import { saveKey } from "./key";

const clicked: string[] = [];

beforeEach(() => {
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    clicked.push(`${this.href} ${this.download}`);
  });
});

afterEach(() => {
  clicked.length = 0;
  saveKey("");
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

test("without a key the browser fetches the file itself", async () => {
  const fetched = vi.fn();
  vi.stubGlobal("fetch", fetched);
  await download("/datasets/3/file", "rows.jsonl");
  expect(clicked).toEqual([`${location.origin}/datasets/3/file rows.jsonl`]);
  expect(fetched).not.toHaveBeenCalled();
});

test("a key goes along in a header, and a refusal saves nothing", async () => {
  saveKey("secret");
  const answers = [new Response("{}\n"), new Response('{"code": 5, "message": "gone", "details": []}', { status: 404 })];
  const asked: Request[] = [];
  vi.stubGlobal("fetch", async (request: Request) => {
    asked.push(request);
    return answers.shift();
  });
  vi.stubGlobal("URL", Object.assign(URL, { createObjectURL: () => "blob:made", revokeObjectURL: () => undefined }));
  await download("/datasets/3/file", "rows.jsonl");
  expect(asked[0]!.headers.get("authorization")).toBe("Bearer secret");
  expect(clicked).toEqual(["blob:made rows.jsonl"]);
  await expect(download("/datasets/4/file", "rows.jsonl")).rejects.toThrow("gone");
  expect(clicked).toHaveLength(1);
});
