"use client";

import { useQuery } from "@tanstack/react-query";
import { absolute, api, type Schemas, take } from "./client";
import { ApiError, fromBody } from "./errors";
import { readKey, setWanted } from "./key";
import { keys } from "./queries";

export interface ReportQuery {
  model_id: number;
  max_seq_length?: number;
  batch_size?: number;
  validation_fraction?: number;
  test_fraction?: number;
}

/** What a job on this model would make of the dataset; the first time it may take minutes. */
export const useReport = (id: number, query: ReportQuery) =>
  useQuery({
    queryKey: [...keys.dataset(id), "report", query],
    enabled: id > 0 && query.model_id > 0,
    staleTime: Number.POSITIVE_INFINITY,
    // A report that is not done goes on at the hub; asking again waits for it.
    retry: (count, error) => count < 20 && error instanceof ApiError && error.reason === "REPORT_IN_PROGRESS",
    queryFn: ({ signal }) =>
      take(api.GET("/datasets/{dataset_id}/report", { params: { path: { dataset_id: id }, query }, signal })),
  });

export const registerDataset = (name: string, path: string) => take(api.POST("/datasets", { body: { name, path } }));

export const deleteDataset = (id: number) =>
  take(api.DELETE("/datasets/{dataset_id}", { params: { path: { dataset_id: id } } }));

interface Upload { name: string; file: Blob; signal: AbortSignal; onProgress: (sent: number, total: number) => void }

/** Sends a file and says how far it is; fetch can't tell that. Rejects with an ApiError or an AbortError. */
export function uploadDataset({ name, file, signal, onProgress }: Upload): Promise<Schemas["Dataset"]> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", absolute(`/datasets:upload?name=${encodeURIComponent(name)}`));
    request.setRequestHeader("content-type", "application/x-ndjson");
    const key = readKey();
    if (key) request.setRequestHeader("authorization", `Bearer ${key}`);
    request.upload.onprogress = (event) => onProgress(event.loaded, event.lengthComputable ? event.total : file.size);
    request.onerror = () => reject(new ApiError("The upload broke off: the hub does not answer.", 0));
    request.onabort = () => reject(new DOMException("The upload was stopped.", "AbortError"));
    request.onload = () => {
      if (request.status === 401) setWanted(true);
      try {
        const body = JSON.parse(request.responseText);
        if (request.status < 300) resolve(body);
        else reject(fromBody(body, request.status, request.getResponseHeader("x-request-id") ?? ""));
      } catch {
        reject(new ApiError(`The hub answered ${request.status}.`, request.status));
      }
    };
    if (signal.aborted) return request.onabort?.(new ProgressEvent("abort"));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
