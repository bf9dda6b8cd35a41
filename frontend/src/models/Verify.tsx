"use client";

import { useQuery } from "@tanstack/react-query";
import { CircleCheck, CircleX } from "lucide-react";
import { type Schemas, verify } from "@/api";
import { word } from "@/lib/format";
import { Button, Dialog, Digest, ErrorState, Skeleton } from "@/ui";

/** Hashes every byte a version stands on, and shows each comparison. */
export default function Verify({ id, version, onClose }: { id: number; version: number; onClose: () => void }) {
  const found = useQuery({ queryKey: ["verify", id, version], gcTime: 0, staleTime: Number.POSITIVE_INFINITY, retry: false, queryFn: () => verify(id, version) });
  return (
    <Dialog open onOpenChange={onClose} title={`Verify version ${version}`} hint="Reads and hashes every byte that it stands on, and compares with the record." className="max-w-2xl">
      {found.error ? <ErrorState error={found.error} retry={() => void found.refetch()} />
        : !found.data || found.isFetching ? <div className="mt-4 grid gap-2" role="status" aria-label="Checking">{Array.from({ length: 6 }, (_, i) => <Skeleton key={i} className="h-9" />)}</div>
        : (
          <>
            <Verdict found={found.data} />
            <ul className="mt-3 divide-y divide-line">
              {found.data.checks.map((check) => (
                <li key={check.what} className="flex items-start gap-3 py-2">
                  {check.ok ? <CircleCheck aria-label="right" className="mt-0.5 size-4 shrink-0 text-ok" /> : <CircleX aria-label="wrong" className="mt-0.5 size-4 shrink-0 text-bad" />}
                  <div className="min-w-0 flex-1">
                    <p className="break-words">{check.what}</p>
                    {check.message && <p className="text-xs text-bad">{check.message}</p>}
                  </div>
                  <span className="shrink-0 pt-0.5 text-xs text-muted">{/^[0-9a-f]{40,}$/.test(check.found) ? <Digest value={check.found} length={10} /> : check.found || "missing"}</span>
                </li>
              ))}
            </ul>
            <div className="mt-4 flex justify-end"><Button onClick={() => void found.refetch()}>Check again</Button></div>
          </>
        )}
    </Dialog>
  );
}

function Verdict({ found }: { found: Schemas["Verification"] }) {
  const bad = found.checks.filter(({ ok }) => !ok).length;
  return (
    <p role="status" className={`mt-4 rounded-md px-3 py-2 font-medium ${found.intact ? "bg-ok-soft text-ok" : "bg-bad-soft text-bad"}`}>
      {found.intact ? `All ${found.checks.length} comparisons are right.` : `${bad} of ${found.checks.length} comparisons are wrong.`} Signature: {word(found.signature, "SIGNATURE_STATUS")}.
    </p>
  );
}
