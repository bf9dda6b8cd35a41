import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { answer, renderInShell } from "../../test/hub";
import Export from "./Export";

const PATH = "/models/7/versions/3/exports";
const file = { name: "model.safetensors", size_bytes: 2048, sha256: "5".repeat(64) };
const made = { id: "e".repeat(64), model_id: 7, version: 3, format: "EXPORT_FORMAT_FUSED", quantize_bits: 8, files: [file], created_at: "2026-01-01T00:00:00Z", expires_at: "2026-01-02T00:00:00Z" };
const parity = { compared_on: "held-out rows", samples: 4, positions: 99, effect_lost: 0.034, tolerance: 0.25, mean_kl: 0.1, base_mean_kl: 6 };
const stream = (...events: unknown[]) => events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
const step = (text: string) => ({ progress: { step: text } });
const info = (metadata: object) => ({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "EXPORT_REFUSED", domain: "mlx-hub", metadata });

const start = async () => {
  renderInShell(<Export id={7} version={3} onClose={() => {}} />);
  await userEvent.click(screen.getByRole("button", { name: "Export" }));
};

test("tells the steps, what survives, and gives the files", async () => {
  const asked = answer({ [PATH]: stream(step("fusing"), step("comparing"), { export: { ...made, parity } }) });
  await start();
  expect(await screen.findByRole("status")).toHaveTextContent("96.6 % of the adapter's effect survives, at 99 tokens of 4 held-out rows.");
  expect(screen.getAllByRole("listitem").map((row) => row.textContent)).toEqual(["fusing", "comparing", expect.stringContaining(file.name)]);
  expect(screen.getByRole("button", { name: `Download ${file.name}` })).toBeEnabled();
  expect(await (asked.mock.calls[0]![0] as Request).json()).toEqual({ format: "EXPORT_FORMAT_FUSED" });
});

test("shows what is refused at the field, and lets another form be chosen", async () => {
  const error = { code: 9, message: "all is lost; pack into 8 bits", details: [info({ field: "quantize_bits" })] };
  answer({ [PATH]: stream(step("fusing"), { error }) });
  await start();
  await waitFor(() => expect(screen.getByRole("combobox", { name: "Form" })).toHaveAccessibleDescription(error.message));
  expect(screen.queryByRole("alert")).toBeNull();
  expect(screen.getByRole("button", { name: "Export" })).toBeEnabled();
});

test("shows any other refusal, and a stream that breaks off", async () => {
  answer({ [PATH]: stream(step("fusing")) });
  await start();
  expect(await screen.findByRole("alert")).toHaveTextContent("The hub broke off");
});
