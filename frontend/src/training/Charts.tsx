"use client";

import { useMemo } from "react";
import type { Schemas } from "@/api";
import { number, short } from "@/lib/format";
import { Card, LineChart } from "@/ui";
import { ended, type Point } from "./watch";

const stepOf = (step: number) => `step ${number(step)}`;

/** Loss, learning rate and speed over the steps. */
export function Charts({ points, job }: { points: readonly Point[]; job: Schemas["TrainingJob"] }) {
  const lines = useMemo(() => ({
    x: points.map((point) => point.step),
    loss: points.map((point) => point.loss),
    smoothed: points.map((point) => point.smoothed),
    validation: points.map((point) => point.validation),
    rate: points.map((point) => point.rate),
    speed: points.map((point) => point.speed),
    norm: points.map((point) => point.norm),
  }), [points]);
  const empty = ended(job) ? "No step was taken" : "The first step is on its way";
  const shared = { x: lines.x, formatX: stepOf, empty, format: short };
  return (
    <>
      <div className="lg:col-span-6">
        <Card title="Loss" hint="Nats per trained token, over optimizer steps">
          <LineChart {...shared} label="Loss" height={260} fromZero={false} lines={[{ label: "Step", values: lines.loss, colour: "chart-5" }, { label: "Smoothed", values: lines.smoothed, colour: "chart-1" }, { label: "Validation", values: lines.validation, colour: "chart-3", points: true }]} />
        </Card>
      </div>
      <div className="lg:col-span-2"><Card title="Learning rate"><LineChart {...shared} label="Learning rate" height={140} lines={[{ label: "Rate", values: lines.rate, colour: "chart-4" }]} /></Card></div>
      <div className="lg:col-span-2"><Card title="Speed"><LineChart {...shared} label="Speed" height={140} lines={[{ label: "Tokens/s", values: lines.speed, colour: "chart-2" }]} /></Card></div>
      <div className="lg:col-span-2"><Card title="Gradient norm"><LineChart {...shared} label="Gradient norm" height={140} lines={[{ label: "Before clipping", values: lines.norm, colour: "chart-5" }]} /></Card></div>
    </>
  );
}
