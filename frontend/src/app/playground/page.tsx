import type { Metadata } from "next";
import { Playground } from "@/playground/Playground";

export const metadata: Metadata = { title: "Playground" };

export default function Page() {
  return <Playground />;
}
