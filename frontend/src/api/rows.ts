"use client";

import { useQuery } from "@tanstack/react-query";
import { call } from "./client";
import { keys } from "./queries";

const PEEK = 64 * 1024;

/** The first rows of a dataset as they stand in its file; of which only these are fetched. */
export const useRows = (id: number, count: number) =>
  useQuery({
    queryKey: [...keys.dataset(id), "rows", count],
    enabled: id > 0,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) => firstLines(`/datasets/${id}/file`, count, signal),
  });

/** The whole lines among the first 64 KiB of a file, at most `count`; the rest of it is not asked for. */
export async function firstLines(path: string, count: number, signal?: AbortSignal): Promise<string[]> {
  const reader = (await call(path, { signal })).body!.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const lines = text.split("\n");
    const rest = lines.pop();
    if (done) return [...lines, rest!].filter((line) => line.trim()).slice(0, count);
    if (lines.length >= count || text.length > PEEK) {
      await reader.cancel();
      return lines.filter((line) => line.trim()).slice(0, count);
    }
  }
}
