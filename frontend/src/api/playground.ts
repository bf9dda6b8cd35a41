"use client";

import { useQuery } from "@tanstack/react-query";
import type { Bound } from "@/lib/bounds";
import bounds from "./bounds.json";
import { api, type Schemas, take } from "./client";
import { ApiError } from "./errors";
import { frames } from "./sse";

export type Asked = Schemas["GenerateRequest"];
export type AnswerFrame = Schemas["GenerateEvent"];
export type Tool = Schemas["Tool"];
export type ToolCall = Schemas["ToolCallOutput"];
export type TokenLogprob = Schemas["TokenLogprob"];
export type GenerationRecord = Schemas["GenerationRecord"];

/** The contract's bounds, defaults and words of what an answer can be asked by. */
export const ASK_BOUNDS: Readonly<Record<string, Bound>> = bounds.GenerateRequest;
export const CHOICE_BOUNDS: Readonly<Record<string, Bound>> = bounds.Choice;
export const TOOL_BOUNDS: Readonly<Record<string, Bound>> = bounds.Tool;

/** An answer as it is made. */
export const answer = (body: Partial<Asked>, signal: AbortSignal) =>
  frames<AnswerFrame>("/inference/stream", { method: "POST", body, signal });

/** Where an answer came from. The record is written behind the answer: a first "no such" is asked again. */
export const useGeneration = (id: string) =>
  useQuery({
    queryKey: ["generations", id],
    enabled: id !== "",
    staleTime: Infinity,
    queryFn: () => take(api.GET("/inference/generations/{generation_id}", { params: { path: { generation_id: id } } })),
    retry: (count, error) => count < 5 && error instanceof ApiError && error.reason === "GENERATION_NOT_FOUND",
    retryDelay: 500,
  });
