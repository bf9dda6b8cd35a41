"use client";

import { Archive, ArchiveRestore, MessagesSquare, PackageOpen, Rocket, ShieldCheck } from "lucide-react";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useState } from "react";
import { useQueryClient } from "@tanstack/react-query";
import { archive, keys, restore, type Schemas, useLineage, useModel, useVersion } from "@/api";
import { bytes, number } from "@/lib/format";
import { Badge, Button, Card, Confirm, Digest, ErrorState, PageHeader, Skeleton, Stat, StatusBadge, toast } from "@/ui";
import { Environment, Files, Recipe } from "./Facts";
import { Lineage } from "./Lineage";
import { Missing } from "./Model";
import { Samples } from "./Samples";
import { metricsOf } from "./Versions";

const Export = dynamic(() => import("./Export"), { ssr: false });
const Promote = dynamic(() => import("./Promote"), { ssr: false });
const Verify = dynamic(() => import("./Verify"), { ssr: false });

export default function Version({ id, version }: { id: number; version: number }) {
  const model = useModel(id);
  const found = useVersion(id, version);
  const lineage = useLineage(id, version);
  const error = model.error ?? found.error;
  if (error && !(model.data && found.data)) return <Missing error={error} retry={() => void Promise.all([model.refetch(), found.refetch()])} />;
  const it = found.data;
  return (
    <>
      <PageHeader
        title={it && model.data ? <>{model.data.name} <span className="text-muted">v{version}</span></> : <Skeleton className="h-7 w-56" />}
        hint={(
          <span className="flex min-h-5 flex-wrap items-center gap-2">
            <Link href="/models/" prefetch={false} className="hover:text-ink hover:underline">Models</Link><span aria-hidden>/</span>
            <Link href={`/models/?id=${id}`} prefetch={false} className="hover:text-ink hover:underline">{model.data?.name ?? "model"}</Link><span aria-hidden>/</span>
            {it && <StatusBadge status={it.status} prefix="VERSION_STATUS" />}
            {it?.aliases.map((alias) => <Badge key={alias} tone={alias === "latest" ? "info" : "accent"}>{alias}</Badge>)}
          </span>
        )}
        actions={it && <Actions id={id} version={it} />}
      />
      <div className="grid gap-4">
        <Numbers version={it} />
        <Card title="Lineage" hint="What this version was made from; each digest can be checked again">
          {lineage.error && !lineage.data ? <ErrorState error={lineage.error} retry={() => void lineage.refetch()} />
            : lineage.data ? <Lineage lineage={lineage.data} /> : <Skeleton className="h-[488px]" />}
        </Card>
        <Samples id={id} version={version} />
        <Recipe lineage={lineage.data} />
        <div className="grid items-start gap-4 lg:grid-cols-2">
          <Environment lineage={lineage.data} />
          <Files lineage={lineage.data} version={it} />
        </div>
      </div>
    </>
  );
}

function Numbers({ version }: { version: Schemas["ModelVersion"] | undefined }) {
  const names = version ? metricsOf([version], 20) : [];
  return (
    <Card>
      <div className="grid grid-cols-2 gap-x-6 gap-y-4 pt-3 sm:grid-cols-3 lg:grid-cols-6">
        {!version ? Array.from({ length: 6 }, (_, i) => <Skeleton key={i} className="h-16" />) : (
          <>
            {names.map((name) => <Metric key={name} name={name} value={version.metrics[name]!} />)}
            <Stat label="Size" value={bytes(version.size_bytes)} note={<Digest value={version.checksum} length={10} />} />
          </>
        )}
      </div>
    </Card>
  );
}

const Metric = ({ name, value }: { name: string; value: number }) => (
  <Stat label={name} value={<span title={String(value)}>{number(value, Math.abs(value) < 10 ? 3 : 1)}</span>} />
);

type Open = "export" | "promote" | "archive" | "restore" | "verify" | null;

function Actions({ id, version }: { id: number; version: Schemas["ModelVersion"] }) {
  const client = useQueryClient();
  const [open, setOpen] = useState<Open>(null);
  const close = () => setOpen(null);
  const ready = version.status === "VERSION_STATUS_READY";
  const archived = version.status === "VERSION_STATUS_ARCHIVED";
  const move = async (act: typeof archive, said: string) => {
    await act(id, version.version);
    await client.invalidateQueries({ queryKey: keys.models });
    toast(`Version ${version.version} is ${said}.`);
  };
  return (
    <>
      {ready && <Button asChild><Link href={`/playground/?model=${id}&version=${version.version}`} prefetch={false}><MessagesSquare aria-hidden />Try</Link></Button>}
      <Button onClick={() => setOpen("verify")}><ShieldCheck aria-hidden />Verify</Button>
      {ready && <Button onClick={() => setOpen("export")}><PackageOpen aria-hidden />Export</Button>}
      {ready && <Button onClick={() => setOpen("archive")}><Archive aria-hidden />Archive</Button>}
      {archived && <Button variant="primary" onClick={() => setOpen("restore")}><ArchiveRestore aria-hidden />Restore</Button>}
      {ready && <Button variant="primary" onClick={() => setOpen("promote")}><Rocket aria-hidden />Promote</Button>}
      {open === "export" && <Export id={id} version={version.version} onClose={close} />}
      {open === "promote" && <Promote id={id} version={version.version} onClose={close} />}
      {open === "verify" && <Verify id={id} version={version.version} onClose={close} />}
      <Confirm open={open === "archive"} onOpenChange={close} title={`Archive version ${version.version}?`} action="Archive" onConfirm={() => move(archive, "archived")}>
        It goes out of service and its files move to the cold tier. It can be restored. A version that an alias other than latest points at can&apos;t be archived.
      </Confirm>
      <Confirm open={open === "restore"} onOpenChange={close} title={`Restore version ${version.version}?`} action="Restore" onConfirm={() => move(restore, "ready again")}>
        Its files come back from the cold tier, and it can be asked for again.
      </Confirm>
    </>
  );
}
