"use client";

import { useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { deleteModel, keys, type Schemas } from "@/api";
import { ConfirmTyped, toast } from "@/ui";

export default function DeleteModel({ model, versions, onClose }: { model: Schemas["Model"]; versions: number; onClose: () => void }) {
  const client = useQueryClient();
  const router = useRouter();
  const run = async () => {
    await deleteModel(model.id);
    router.push("/models/");
    toast(`Model ${model.name} is deleted.`);
    await client.invalidateQueries({ queryKey: [...keys.models, "list"] });
  };
  const what = versions ? `${versions === 1 ? "its version" : `its ${versions} versions`}, their aliases and files` : "its history";
  return (
    <ConfirmTyped title={`Delete ${model.name}?`} name={model.name} action="Delete" onClose={onClose} onConfirm={run}>
      The model goes with {what}. There is no way back.
    </ConfirmTyped>
  );
}
