"use client";

import { type Schemas, sum, useEngines, useMetrics } from "@/api";
import { bytes, percent } from "@/lib/format";
import { Bytes, Card, ErrorState, type Part, Skeleton, StackedBar, StatusBadge } from "@/ui";

type Engine = Schemas["Engine"];

/** The memory budget by who has it, and beneath it what each was forecast and what was measured. */
export function Memory() {
  const engines = useEngines();
  const { samples } = useMetrics();
  const last = samples.at(-1);
  const room = engines.data?.memory;
  const list = engines.data?.engines ?? [];
  const running = sum(last, "mlx_hub_training_running") ?? 0;
  const trainer = room ? Math.max(0, (room.held_bytes ?? 0) - leased(list)) : 0;
  return (
    <Card
      className="h-full"
      title="Memory budget"
      hint={room ? `${bytes(room.free_bytes ?? 0)} of ${bytes(room.budget_bytes ?? 0)} may be taken` : "What engines and training may hold together"}
    >
      {engines.error && !engines.data ? (
        <ErrorState error={engines.error} retry={() => void engines.refetch()} />
      ) : !room ? (
        <><Skeleton className="h-4" /><Skeleton className="mt-3 h-4 w-2/3" /><Skeleton className="mt-6 h-16" /></>
      ) : (
        <>
          <StackedBar label="Memory budget" parts={parts(room, list, trainer)} total={room.budget_bytes ?? 0} format={bytes} />
          <table className="mt-5 w-full table-fixed text-xs">
            <thead>
              <tr className="text-left text-muted [&>th]:pb-2 [&>th]:font-normal">
                <th>Holder</th><th className="w-20 text-right">Forecast</th><th className="w-20 text-right">Peak</th><th className="w-20 text-right max-sm:hidden">Now</th><th className="w-20 text-right max-sm:hidden">Off by</th>
              </tr>
            </thead>
            <tbody className="[&_td]:h-8 [&_td]:border-t [&_td]:border-line">
              {list.map((engine) => <EngineRow key={engine.base_model} engine={engine} />)}
              {running > 0 && (
                <tr>
                  <td className="font-medium">Training</td>
                  <td className="text-right"><Bytes value={sum(last, "mlx_hub_training_forecast_bytes") || trainer} /></td>
                  <td className="text-right"><Bytes value={sum(last, "mlx_hub_training_peak_memory_bytes") ?? 0} /></td>
                  <td className="text-right text-muted max-sm:hidden">–</td>
                  <td className="text-right text-muted max-sm:hidden">–</td>
                </tr>
              )}
              {!list.length && !running && <tr><td colSpan={5} className="text-muted">Nothing is in memory. A model is loaded when it is first asked.</td></tr>}
            </tbody>
          </table>
        </>
      )}
    </Card>
  );
}

function EngineRow({ engine }: { engine: Engine }) {
  const measured = !!engine.peak_bytes;
  return (
    <tr>
      <td className="pr-3">
        <span className="flex gap-x-2 gap-y-1 py-1 max-sm:flex-col max-sm:items-start sm:items-center"><span className="max-w-full truncate font-medium" title={engine.base_model}>{engine.base_model}</span><StatusBadge status={engine.state} prefix="ENGINE_STATE" /></span>
      </td>
      <td className="text-right"><Bytes value={engine.forecast_bytes ?? 0} /></td>
      <td className="text-right">{measured ? <Bytes value={engine.peak_bytes ?? 0} /> : "–"}</td>
      <td className="text-right max-sm:hidden">{engine.active_bytes ? <Bytes value={engine.active_bytes} /> : "–"}</td>
      <td className="text-right text-muted max-sm:hidden">{measured ? percent(engine.forecast_error ?? 0) : "–"}</td>
    </tr>
  );
}

const leased = (engines: readonly Engine[]) => engines.reduce((total, { forecast_bytes }) => total + (forecast_bytes ?? 0), 0);

/** Engines and training by their leases; what other programs keep from the budget is told apart from free. */
export function parts(room: Schemas["InferenceMemoryRoom"], engines: readonly Engine[], trainer: number): Part[] {
  const others = (room.budget_bytes ?? 0) - (room.held_bytes ?? 0) - (room.free_bytes ?? 0);
  return [
    { label: "Engines", value: leased(engines), colour: "chart-1" },
    { label: "Training", value: trainer, colour: "chart-2" },
    ...(others > 1e6 ? [{ label: "Other programs", value: others, colour: "chart-5" } as const] : []),
    { label: "Free", value: room.free_bytes ?? 0, colour: "muted" },
  ];
}
