"use client";

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { keys, type LiveMode, type Schemas, useLive } from "@/api";
import { getJob } from "@/api/training";
import { ended, isEnd, NOTHING, reduce, reducePolled, type Watched } from "./watch";

type Frame = Schemas["TrainingEvent"];
const DRAW_MS = 100; // a replay of many thousand steps is drawn at once, not step by step

/** Follows a job's stream; while it is away by REST. */
export function useWatched(id: number, begin: Schemas["TrainingJob"]): { seen: Watched; mode: LiveMode } {
  const client = useQueryClient();
  const [seen, setSeen] = useState<Watched>({ ...NOTHING, job: begin });
  const waiting = useRef<{ frames: Frame[]; timer: ReturnType<typeof setTimeout> | null }>({ frames: [], timer: null });

  const draw = () => {
    const { frames } = waiting.current;
    waiting.current = { frames: [], timer: null };
    setSeen((before) => reduce(before, frames, Date.now()));
    const job = frames.findLast((frame) => frame.job)?.job;
    if (ended(job)) void client.invalidateQueries({ queryKey: keys.jobs });
  };
  useEffect(() => () => { if (waiting.current.timer) clearTimeout(waiting.current.timer); }, []);

  const last = useRef(0);
  const opening = useRef<Frame | null>(null);
  const { mode } = useLive<Frame>({
    path: (after) => `/training/jobs/${id}/events?after_sequence=${after}`,
    onFrame: (frame) => {
      if (frame.error) return undefined;
      if (frame.job && frame.sequence <= last.current) opening.current = frame;
      last.current = Math.max(last.current, frame.sequence);
      waiting.current.frames.push(frame);
      waiting.current.timer ??= setTimeout(draw, DRAW_MS);
      return frame.sequence;
    },
    isLast: (frame) => isEnd(frame, opening.current),
    poll: async () => {
      const job = await getJob(id);
      setSeen((before) => reducePolled(before, job, Date.now()));
      return false; // what an ended job's stream has to tell besides comes once it can be asked again
    },
  });
  return { seen, mode };
}
