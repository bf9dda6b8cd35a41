import type { Metadata } from "next";
import { Suspense } from "react";
import { Datasets } from "@/datasets/Datasets";

export const metadata: Metadata = { title: "Datasets" };

export default function Page() {
  return <Suspense><Datasets /></Suspense>;
}
