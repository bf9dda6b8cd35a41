import type { Metadata } from "next";
import { Suspense } from "react";
import { Models } from "@/models/Models";

export const metadata: Metadata = { title: "Models" };

export default function Page() {
  return <Suspense><Models /></Suspense>;
}
