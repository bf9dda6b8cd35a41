"use client";

import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { api, type Schemas, take } from "./client";

/** Query keys, by noun: invalidate `keys.models` after a change and all that hangs on it is fresh. */
export const keys = {
  health: ["health"],
  models: ["models"],
  model: (id: number) => ["models", id],
  versions: (id: number) => ["models", id, "versions"],
  history: (id: number) => ["models", id, "history"],
  datasets: ["datasets"],
  dataset: (id: number) => ["datasets", id],
  jobs: ["jobs"],
  job: (id: number) => ["jobs", id],
  engines: ["engines"],
  storage: ["storage"],
} as const;

type ModelFilter = { name_prefix?: string; task_type?: string; tag?: string };
type JobFilter = { model_id?: number; status?: Schemas["JobStatus"] };

export const useHealth = () =>
  useQuery({ queryKey: keys.health, queryFn: () => take(api.GET("/health")), refetchInterval: 5000, retry: false });

/** All models, page by page: `flat(query)` gives those that came. */
export const useModels = (filter: ModelFilter = {}) =>
  useInfiniteQuery({
    queryKey: [...keys.models, "list", filter],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) =>
      take(api.GET("/models", { params: { query: { ...filter, page_size: 200, page_token: pageParam } }, signal })),
    getNextPageParam: (page) => page.next_page_token || undefined,
    placeholderData: keepPreviousData,
  });

export const useModel = (id: number) =>
  useQuery({
    queryKey: keys.model(id),
    enabled: id > 0,
    queryFn: () => take(api.GET("/models/{model_id}", { params: { path: { model_id: id } } })),
  });

export const useVersions = (id: number) =>
  useQuery({
    queryKey: keys.versions(id),
    enabled: id > 0,
    queryFn: async () =>
      (await take(api.GET("/models/{model_id}/versions", { params: { path: { model_id: id }, query: { page_size: 1000 } } })))
        .versions ?? [],
  });

export const useDatasets = (filter: { name_prefix?: string } = {}) =>
  useInfiniteQuery({
    queryKey: [...keys.datasets, "list", filter],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) =>
      take(api.GET("/datasets", { params: { query: { ...filter, page_size: 200, page_token: pageParam } }, signal })),
    getNextPageParam: (page) => page.next_page_token || undefined,
    placeholderData: keepPreviousData,
  });

export const useDataset = (id: number) =>
  useQuery({
    queryKey: keys.dataset(id),
    enabled: id > 0,
    queryFn: () => take(api.GET("/datasets/{dataset_id}", { params: { path: { dataset_id: id } } })),
  });

export const useJobs = (filter: JobFilter = {}) =>
  useInfiniteQuery({
    queryKey: [...keys.jobs, "list", filter],
    initialPageParam: "",
    queryFn: ({ pageParam, signal }) =>
      take(api.GET("/training/jobs", { params: { query: { ...filter, page_size: 100, page_token: pageParam } }, signal })),
    getNextPageParam: (page) => page.next_page_token || undefined,
    placeholderData: keepPreviousData,
    refetchInterval: 3000,
  });

export const useJob = (id: number) =>
  useQuery({
    queryKey: keys.job(id),
    enabled: id > 0,
    queryFn: () => take(api.GET("/training/jobs/{job_id}", { params: { path: { job_id: id } } })),
  });

export const useEngines = () =>
  useQuery({ queryKey: keys.engines, queryFn: () => take(api.GET("/inference/models")), refetchInterval: 3000 });

export const useStorage = () =>
  useQuery({ queryKey: keys.storage, queryFn: () => take(api.GET("/storage")), refetchInterval: 30_000 });

/** The newest events of one model's history. */
export const modelHistory = (id: number, count: number) => ({
  queryKey: [...keys.history(id), "newest", count],
  queryFn: async () =>
    (await take(api.GET("/models/{model_id}/history", { params: { path: { model_id: id }, query: { page_size: count } } })))
      .events ?? [],
});

/** The rows of all pages that have come. */
export function flat<P, K extends keyof P>(query: { data?: { pages: P[] } }, name: K) {
  return (query.data?.pages ?? []).flatMap((page) => (page[name] ?? []) as NonNullable<P[K]> & readonly unknown[]) as (NonNullable<P[K]> extends readonly (infer T)[] ? T : never)[];
}
