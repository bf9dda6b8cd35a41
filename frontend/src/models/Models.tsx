"use client";

import dynamic from "next/dynamic";
import { useUrl } from "@/lib/url";
import { Skeleton } from "@/ui";
import { List } from "./List";

const loading = () => <div className="grid gap-4"><Skeleton className="h-11 w-64" /><Skeleton className="h-80" /></div>;
const Model = dynamic(() => import("./Model"), { ssr: false, loading });
const Version = dynamic(() => import("./Version"), { ssr: false, loading });

/** All models; one with ?id=; one version of it with &version=. */
export function Models() {
  const [params] = useUrl();
  const id = Number(params.get("id"));
  const version = Number(params.get("version"));
  if (id && version) return <Version key={`${id}-${version}`} id={id} version={version} />;
  return id ? <Model key={id} id={id} /> : <List />;
}
