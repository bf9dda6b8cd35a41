import type { components } from "./schema";

type Schemas = components["schemas"];

/** What the hub, or the way to it, answered instead of what was asked for. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    message: string,
    /** HTTP's status; 0 when there was no answer at all. */
    readonly status: number,
    /** An ErrorReason such as NAME_TAKEN; empty when there is none. */
    readonly reason = "",
    readonly metadata: Readonly<Record<string, string>> = {},
    /** What is wrong with which field, by the field's path in the request. */
    readonly fields: Readonly<Record<string, string>> = {},
    readonly requestId = "",
    /** After how many seconds to try again; undefined when the hub does not say. */
    readonly retrySeconds?: number,
  ) {
    super(message);
  }

  /** Nobody answered: the hub is down, or not to be reached. */
  get offline(): boolean {
    return this.status === 0;
  }

  /** What is wrong with a field; of a part of it, such as `stop[0]` of `stop`, with the part's name. */
  at(name: string): string | undefined {
    if (this.fields[name] !== undefined) return this.fields[name];
    const part = Object.entries(this.fields).find(([field]) => field.startsWith(`${name}[`) || field.startsWith(`${name}.`));
    return part?.join(": ");
  }
}

/** Reads `{"code", "message", "details": […]}`; any other body becomes a plain message. */
export async function fromResponse(response: Response): Promise<ApiError> {
  const id = response.headers.get("x-request-id") ?? "";
  const text = await response.text().catch(() => "");
  const after = Number(response.headers.get("retry-after")) || undefined;
  try {
    return fromBody(JSON.parse(text), response.status, id, after);
  } catch {
    return new ApiError(`The hub answered ${response.status}.`, response.status, "", {}, {}, id, after);
  }
}

type Detail = {
  "@type"?: string;
  reason?: string;
  metadata?: Record<string, string>;
  field_violations?: { field: string; description: string }[];
  fieldViolations?: { field: string; description: string }[];
  retry_delay?: string;
  retryDelay?: string;
};

/** Makes an error of a status as the contract writes it, in a body or in a stream's last frame. */
export function fromBody(body: Schemas["Error"], status = 200, id = "", after?: number): ApiError {
  if (typeof body?.message !== "string") throw new TypeError("not an error of the hub");
  let reason = "";
  let metadata = {};
  let retry = after;
  const fields: Record<string, string> = {};
  for (const detail of (body.details ?? []) as Detail[]) {
    const kind = detail["@type"] ?? "";
    if (kind.endsWith("ErrorInfo")) {
      reason = detail.reason ?? "";
      metadata = detail.metadata ?? {};
    } else if (kind.endsWith("BadRequest")) {
      for (const found of detail.field_violations ?? detail.fieldViolations ?? [])
        fields[found.field] = found.description;
    } else if (kind.endsWith("RetryInfo")) {
      retry = Number.parseFloat(detail.retry_delay ?? detail.retryDelay ?? "") || retry;
    }
  }
  return new ApiError(body.message, status, reason, metadata, fields, id, retry);
}

/** Turns whatever was thrown into an ApiError; an abort stays what it is. */
export function asApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof TypeError) return new ApiError("The hub does not answer.", 0);
  return new ApiError(thrown instanceof Error ? thrown.message : String(thrown), 200);
}
