import { screen } from "@testing-library/react";
import { answer, renderInShell } from "../../test/hub";
import { Why } from "./Why";

afterEach(() => vi.restoreAllMocks());

async function shown(provenance: object, record: object = {}) {
  answer({ "/inference/generations/g": { generation_id: "g", provenance: { model_id: 1, model_name: "bot", base_model: "tiny", ...provenance }, request: {}, ...record } });
  renderInShell(<Why id="g" open onOpenChange={() => {}} />);
  return (await screen.findByText("Sampling")).closest("li");
}

it.each([
  [{ kv_bits: 8 }, "keys and values in 8 bits"],
  [{ max_kv_size: 1024 }, "to the last 1,024 tokens"],
])("tells what of the node's settings changed the tokens: %o", async (provenance, text) => {
  expect(await shown(provenance)).toHaveTextContent(`Attention${text}`);
});

it.each([
  [{ draft_model: "small" }, "9 tokens, some by small; 6 of them taken"],
  [{}, "9 tokens from the text itself; 6 of them taken"],
])("tells who guessed: %o", async (provenance, text) => {
  expect(await shown(provenance, { drafted_tokens: 9, accepted_tokens: 6 })).toHaveTextContent(`Drafted${text}`);
});

it("says nothing of what was not so", async () => {
  const step = await shown({});
  for (const label of ["Attention", "Drafted"]) expect(step).not.toHaveTextContent(label);
});
