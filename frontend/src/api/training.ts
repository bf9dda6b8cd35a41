"use client";

import { useQuery } from "@tanstack/react-query";
import bounds from "./bounds.json";
import { api, type Schemas, take } from "./client";
import type { Bound } from "@/lib/bounds";

export type JobRequest = Schemas["CreateTrainingJobRequest"];
export type LogLine = Schemas["TrainingLogLine"];

/** The contract's bounds, defaults and words of each field of a new job. */
export const JOB_BOUNDS: Readonly<Record<string, Bound>> = bounds.CreateTrainingJobRequest;

/** What such a job would need; asked anew with every change of the request. */
export const useForecast = (body: JobRequest | null) =>
  useQuery({
    queryKey: ["forecast", body],
    enabled: body !== null,
    queryFn: ({ signal }) => take(api.POST("/training/jobs:forecast", { body: body!, signal })),
    placeholderData: (before) => before,
    retry: false,
  });

export const createJob = (body: JobRequest) => take(api.POST("/training/jobs", { body }));

const path = (id: number) => ({ params: { path: { job_id: id } } });

export const getJob = (id: number) => take(api.GET("/training/jobs/{job_id}", path(id)));
export const cancelJob = (id: number) => take(api.POST("/training/jobs/{job_id}:cancel", path(id)));
export const retryJob = (id: number) => take(api.POST("/training/jobs/{job_id}:retry", path(id)));
export const replayJob = (id: number) => take(api.POST("/training/jobs/{job_id}:replay", { ...path(id), body: { job_id: id } }));

/** Log lines behind a sequence, oldest first; or the newest ones. */
export async function logLines(id: number, query: { after_sequence?: number; page_size: number; newest_first?: boolean }): Promise<LogLine[]> {
  return (await take(api.GET("/training/jobs/{job_id}/logs", { params: { path: { job_id: id }, query } }))).lines ?? [];
}
