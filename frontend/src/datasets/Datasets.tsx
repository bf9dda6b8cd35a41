"use client";

import dynamic from "next/dynamic";
import { useUrl } from "@/lib/url";
import { Skeleton } from "@/ui";
import { List } from "./List";

const loading = () => <div className="grid gap-4"><Skeleton className="h-11 w-64" /><Skeleton className="h-80" /></div>;
const Dataset = dynamic(() => import("./Dataset"), { ssr: false, loading });

/** All datasets; one with ?id=. */
export function Datasets() {
  const id = Number(useUrl()[0].get("id"));
  return id ? <Dataset key={id} id={id} /> : <List />;
}
