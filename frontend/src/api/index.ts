export { api, absolute, BASE, call, type Schemas, take } from "./client";
export * from "./datasets";
export { ApiError, asApiError, fromBody } from "./errors";
export { type LiveMode, useLive } from "./live";
export * from "./models";
export { useMetrics, type Metrics } from "./metrics";
export { quantile, rate, type Sample, sum } from "./prometheus";
export * from "./queries";
export { frames } from "./sse";
