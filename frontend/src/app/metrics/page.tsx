import type { Metadata } from "next";
import { Suspense } from "react";
import { Metrics } from "@/metrics/Metrics";

export const metadata: Metadata = { title: "Metrics" };

export default function Page() {
  return <Suspense><Metrics /></Suspense>;
}
