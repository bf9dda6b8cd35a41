import type { Metadata } from "next";
import { Training } from "@/training/Training";

export const metadata: Metadata = { title: "Training" };

export default function Page() {
  return <Training />;
}
