"use client";

import { Compass } from "lucide-react";
import Link from "next/link";
import { Button } from "@/ui/button";
import { Empty } from "@/ui/state";

export default function NotFound() {
  return (
    <Empty icon={Compass} title="There is no such page" action={<Button asChild><Link href="/">Go to Overview</Link></Button>}>
      The address may be misspelt, or what it was about is gone.
    </Empty>
  );
}
