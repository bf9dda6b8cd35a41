import { Rows3 } from "lucide-react";
import { useRows } from "@/api";
import { Card, Empty, ErrorState, Skeleton } from "@/ui";
import { partsOf } from "./shape";

const SHOWN = 6;

/** The first rows, as they stand in the file. */
export function Rows({ id }: { id: number }) {
  const rows = useRows(id, SHOWN);
  return (
    <Card title="First rows" hint="As they stand in the file" flush>
      {rows.error && !rows.data ? <ErrorState error={rows.error} retry={() => void rows.refetch()} />
        : !rows.data ? <div className="px-5 pb-4"><Skeleton className="h-64" /></div>
        : !rows.data.length ? <Empty icon={Rows3} title="The first row is too long to show">It takes more than 64 KiB; the download has it.</Empty>
        : (
          <ol className="divide-y divide-line">
            {rows.data.map((line, index) => (
              <li key={index} className="flex gap-4 px-5 py-3">
                <span className="w-6 shrink-0 pt-0.5 text-right text-2xs text-muted">{index + 1}</span>
                <div className="grid min-w-0 flex-1 gap-1">
                  {partsOf(line).map((part, i) => (
                    <p key={i} className="line-clamp-4 break-words whitespace-pre-wrap"><span className="mr-2 text-2xs text-muted">{part.label}</span>{part.text}</p>
                  ))}
                </div>
              </li>
            ))}
          </ol>
        )}
    </Card>
  );
}
