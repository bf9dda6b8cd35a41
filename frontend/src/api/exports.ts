import type { Schemas } from "./client";
import { ApiError, fromBody } from "./errors";
import { frames } from "./sse";

export type VersionExport = Schemas["VersionExport"];
/** How a version is wanted. */
export type Wanted = Pick<Schemas["ExportVersionRequest"], "format"> & { quantize_bits?: 0 | 4 | 8 };

/** Tells each step of an export in words, and then gives it; throws an ApiError. Who aborts ends the work. */
export async function* exportVersion(id: number, version: number, body: Wanted, signal: AbortSignal): AsyncGenerator<string | VersionExport> {
  for await (const event of frames<Schemas["ExportEvent"]>(`/models/${id}/versions/${version}/exports`, { method: "POST", body, signal })) {
    if (event.error) throw fromBody(event.error);
    if (event.progress) yield event.progress.step;
    if (event.export) return yield event.export;
  }
  throw new ApiError("The hub broke off before the export was done; ask again.", 0);
}
