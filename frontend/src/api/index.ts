export { api, absolute, BASE, call, type Schemas, take } from "./client";
export { ApiError, asApiError, fromBody } from "./errors";
export { type LiveMode, useLive } from "./live";
export { useMetrics, type Metrics } from "./metrics";
export { labelled, quantile, rate, type Sample, sum } from "./prometheus";
export * from "./queries";
export { frames } from "./sse";
