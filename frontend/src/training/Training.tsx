"use client";

import dynamic from "next/dynamic";
import { Suspense } from "react";
import { useUrl } from "@/lib/url";
import { Skeleton } from "@/ui";
import { JobList } from "./JobList";

const Waiting = () => <><Skeleton className="mb-6 h-11 w-64" /><Skeleton className="h-96 rounded-xl" /></>;
const Job = dynamic(() => import("./Job").then((made) => made.Job), { loading: Waiting });
const NewJob = dynamic(() => import("./NewJob").then((made) => made.NewJob), { loading: Waiting });

/** `?id=7` is a job, `?new=1` the form, with `&model=` and `&dataset=` or `&from=` a job to begin with; else the list. */
export function Training() {
  return <Suspense fallback={<Waiting />}><Shown /></Suspense>;
}

function Shown() {
  const [params] = useUrl();
  const id = Number(params.get("id"));
  if (id > 0) return <Job key={id} id={id} />;
  return params.get("new") ? <NewJob /> : <JobList />;
}
