"use client";

import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState, useSyncExternalStore } from "react";
import { keyWanted, onKeyWanted, readKey, saveKey, setWanted } from "@/api/key";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field, Input } from "@/ui/field";

/** Asks for the API key when the hub wants one. */
export default function KeyPrompt() {
  const wanted = useSyncExternalStore(onKeyWanted, keyWanted, () => false);
  const client = useQueryClient();
  const [key, setKey] = useState("");
  const save = (event: FormEvent) => {
    event.preventDefault();
    saveKey(key.trim());
    setKey("");
    void client.invalidateQueries();
  };
  return (
    <Dialog open={wanted} onOpenChange={setWanted} title="This hub asks for an API key" hint="It stays in this tab and is forgotten when the tab is closed." className="max-w-md">
      <form onSubmit={save} className="mt-4">
        <Field label="API key" error={readKey() ? "The hub does not know the key that was given." : undefined} hint="The operator set it by MLX_HUB_API_KEYS.">
          <Input type="password" autoComplete="off" value={key} onChange={(event) => setKey(event.target.value)} />
        </Field>
        <div className="mt-3 flex justify-end gap-2">
          <Button onClick={() => setWanted(false)}>Not now</Button>
          <Button type="submit" variant="primary" disabled={!key.trim()}>Use this key</Button>
        </div>
      </form>
    </Dialog>
  );
}
