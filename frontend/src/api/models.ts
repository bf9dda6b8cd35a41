"use client";

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { api, type Schemas, take } from "./client";
import { ApiError } from "./errors";
import { keys } from "./queries";

const PAGE = 20;
const at = (id: number, version: number) => ({ path: { model_id: id, version: String(version) } });
const of = (id: number) => ({ path: { model_id: id } });

/** What models can be made over. */
export const useBaseModels = () =>
  useQuery({
    queryKey: [...keys.models, "bases"],
    queryFn: async () => (await take(api.GET("/base-models", { params: { query: { page_size: 1000 } } }))).base_models,
  });

/** One version, by number. */
export const useVersion = (id: number, version: number) =>
  useQuery({
    queryKey: [...keys.versions(id), version],
    enabled: id > 0 && version > 0,
    queryFn: () => take(api.GET("/models/{model_id}/versions/{version}", { params: at(id, version) })),
  });

/** What happened to a model, newest first, twenty events a page. */
export const useHistory = (id: number) =>
  useInfiniteQuery({
    queryKey: [...keys.history(id), "pages"],
    initialPageParam: "",
    queryFn: ({ pageParam }) =>
      take(api.GET("/models/{model_id}/history", { params: { ...of(id), query: { page_size: PAGE, page_token: pageParam } } })),
    getNextPageParam: (page) => page.next_page_token || undefined,
  });

export const useTrend = (id: number) =>
  useQuery({
    queryKey: [...keys.model(id), "quality"],
    queryFn: () => take(api.GET("/models/{model_id}/quality", { params: { ...of(id), query: { versions: 200 } } })),
  });

/** The model's gate; null without one. */
export const useGate = (id: number) =>
  useQuery({
    queryKey: [...keys.model(id), "gate"],
    queryFn: async () => {
      try {
        return await take(api.GET("/models/{model_id}/gate", { params: of(id) }));
      } catch (thrown) {
        if (thrown instanceof ApiError && thrown.reason === "GATE_NOT_FOUND") return null;
        throw thrown;
      }
    },
  });

export const useLineage = (id: number, version: number) =>
  useQuery({
    queryKey: [...keys.versions(id), version, "lineage"],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: () => take(api.GET("/models/{model_id}/versions/{version}/lineage", { params: at(id, version) })),
  });

/** What base model and version answered to the same prompts. */
export const useSamples = (id: number, version: number) =>
  useQuery({
    queryKey: [...keys.versions(id), version, "samples"],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async () =>
      (await take(api.GET("/models/{model_id}/versions/{version}/samples", { params: at(id, version) }))).samples ?? [],
  });

export const createModel = (body: Schemas["CreateModelRequest"]) => take(api.POST("/models", { body }));

/** Replaces description and tags, both. */
export const updateModel = (id: number, description: string, tags: Record<string, string>) =>
  take(api.PATCH("/models/{model_id}", { params: of(id), body: { description, tags, update_mask: "description,tags" } }));

/** Deletes it with its versions. */
export const deleteModel = (id: number) =>
  take(api.DELETE("/models/{model_id}", { params: { ...of(id), query: { force: true } } }));

export const promote = (id: number, version: number, alias: string) =>
  take(api.POST("/models/{model_id}/versions/{version}:promote", { params: at(id, version), body: { alias } }));

export const rollback = (id: number, alias: string) =>
  take(api.POST("/models/{model_id}:rollback", { params: of(id), body: { alias } }));

export const removeAlias = (id: number, alias: string) =>
  take(api.DELETE("/models/{model_id}/aliases/{alias}", { params: { path: { model_id: id, alias } } }));

export const archive = (id: number, version: number) =>
  take(api.POST("/models/{model_id}/versions/{version}:archive", { params: at(id, version) }));

export const restore = (id: number, version: number) =>
  take(api.POST("/models/{model_id}/versions/{version}:restore", { params: at(id, version) }));

export const verify = (id: number, version: number) =>
  take(api.POST("/models/{model_id}/versions/{version}:verify", { params: at(id, version) }));

export const setGate = (id: number, body: Schemas["SetPromotionGateRequest"]) =>
  take(api.PUT("/models/{model_id}/gate", { params: of(id), body }));

export const deleteGate = (id: number) => take(api.DELETE("/models/{model_id}/gate", { params: of(id) }));
