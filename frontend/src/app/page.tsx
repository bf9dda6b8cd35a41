import { Events } from "@/overview/Events";
import { Memory } from "@/overview/Memory";
import { Queue } from "@/overview/Queue";
import { Services } from "@/overview/Services";
import { Speed } from "@/overview/Speed";
import { PageHeader } from "@/ui/card";

export default function Overview() {
  return (
    <>
      <PageHeader title="Overview" hint="What this hub is doing now" />
      <div className="grid gap-4 lg:grid-cols-6">
        <div className="lg:col-span-6"><Services /></div>
        <div className="lg:col-span-4"><Memory /></div>
        <div className="lg:col-span-2"><Queue /></div>
        <div className="lg:col-span-6"><Speed /></div>
        <div className="lg:col-span-6"><Events /></div>
      </div>
    </>
  );
}
