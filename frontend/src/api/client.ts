import createClient from "openapi-fetch";
import { ApiError, fromResponse } from "./errors";
import { readKey, setWanted } from "./key";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** Where the REST API begins: the page's own origin, or under `next dev` what it was told. */
export const BASE = (process.env.NEXT_PUBLIC_API_BASE_URL ?? "").replace(/\/$/, "");

/** fetch with the key, and with everything but a success thrown as an ApiError. */
export async function call(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const request = new Request(typeof input === "string" ? absolute(input) : input, init);
  const key = readKey();
  if (key) request.headers.set("authorization", `Bearer ${key}`);
  let response: Response;
  try {
    response = await fetch(request);
  } catch (thrown) {
    if (thrown instanceof DOMException && thrown.name === "AbortError") throw thrown;
    throw new ApiError("The hub does not answer.", 0);
  }
  if (response.ok) return response;
  const error = await fromResponse(response);
  if (response.status === 401) setWanted(true);
  throw error;
}

/** Gives a path of the API its origin. */
export function absolute(path: string): string {
  return new URL(`${BASE}${path}`, BASE || globalThis.location?.origin).toString();
}

/** The generated client: `await take(api.GET("/models/{model_id}", {…}))`. */
export const api = createClient<paths>({
  baseUrl: BASE || globalThis.location?.origin,
  fetch: (request) => call(request),
});

/** Gives the answer itself; a refusal was thrown before. */
export async function take<T>(reply: Promise<{ data?: T }>): Promise<NonNullable<T>> {
  return (await reply).data as NonNullable<T>;
}
