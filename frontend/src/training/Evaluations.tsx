import type { Schemas } from "@/api";
import { number, short, word } from "@/lib/format";
import { Card } from "@/ui";

/** What base model and trained weights scored on the same held-out rows. */
export function Evaluations({ found }: { found: readonly Schemas["EvaluationResult"][] }) {
  const any = found[0];
  const of = (which: string) => found.find((result) => word(result.which, "EVALUATED_WEIGHTS") === which);
  const base = of("base");
  const version = of("version");
  const gain = base?.loss && version?.loss ? 1 - version.loss / base.loss : undefined;
  return (
    <Card title="Before and after" hint={`${number(any?.rows ?? 0)} of ${number(any?.held_out_rows ?? 0)} held-out rows (${word(any?.split, "EVALUATION_SPLIT")}), ${number(any?.tokens ?? 0)} tokens`}>
      <table className="w-full table-fixed text-sm [&_td]:h-10 [&_td]:border-t [&_td]:border-line [&_th]:pb-2 [&_th]:text-xs [&_th]:font-normal [&_th]:text-muted">
        <thead><tr><th className="text-left">Weights</th><th className="text-right">Loss</th><th className="text-right">Perplexity</th></tr></thead>
        <tbody>
          {[["Base model", base], ["Trained", version]].map(([label, result]) => {
            const row = result as Schemas["EvaluationResult"] | undefined;
            return <tr key={label as string}><td>{label as string}</td><td className="text-right font-medium">{row ? short(row.loss ?? NaN) : "–"}</td><td className="text-right">{row?.perplexity ? short(row.perplexity) : "–"}</td></tr>;
          })}
        </tbody>
      </table>
      {gain !== undefined && <p className="mt-2 text-xs text-muted">{gain > 0 ? `The loss fell by ${(gain * 100).toFixed(0)} %.` : "The loss did not fall."}</p>}
    </Card>
  );
}
