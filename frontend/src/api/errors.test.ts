import { asApiError, fromBody, fromResponse } from "./errors";

const answer = (body: unknown, status = 400, headers: Record<string, string> = {}) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

describe("fromResponse", () => {
  it("reads reason, metadata, fields, delay and request id", async () => {
    const details = [
      { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "INVALID_FIELD", domain: "mlx-hub", metadata: { field: "name" } },
      { "@type": "type.googleapis.com/google.rpc.BadRequest", field_violations: [{ field: "name", description: "is empty" }] },
      { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "2.5s" },
    ];
    const error = await fromResponse(answer({ code: 3, message: "name is empty", details }, 400, { "x-request-id": "r-1" }));
    expect(error).toMatchObject({
      message: "name is empty", status: 400, reason: "INVALID_FIELD", metadata: { field: "name" },
      fields: { name: "is empty" }, requestId: "r-1", retrySeconds: 2.5,
    });
  });

  it("takes Retry-After, and a body that is none of ours", async () => {
    const error = await fromResponse(answer("<html>", 502, { "retry-after": "7" }));
    expect([error.message, error.status, error.retrySeconds]).toEqual(["The hub answered 502.", 502, 7]);
  });
});

it("tells no answer from a refusal", () => {
  expect(asApiError(new TypeError("Failed to fetch")).offline).toBe(true);
  expect(fromBody({ code: 5, message: "no such model", details: [] }, 404).offline).toBe(false);
});
