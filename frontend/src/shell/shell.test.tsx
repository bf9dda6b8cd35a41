import { screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { saveKey } from "@/api/key";
import { useEngines } from "@/api";
import { answer, renderInShell } from "../../test/hub";
import { Connection, OfflineBanner } from "./Connection";
import KeyPrompt from "./KeyPrompt";
import Palette from "./Palette";

const push = vi.hoisted(() => vi.fn());
vi.mock("next/navigation", () => ({ useRouter: () => ({ push }) }));
afterEach(() => { vi.restoreAllMocks(); push.mockClear(); saveKey(""); });

const SERVING = { services: ["registry", "trainer", "inference"].map((name) => ({ name, status: "SERVING_STATUS_SERVING" })) };

describe("the palette", () => {
  const hub = {
    "/models": { models: [{ id: 3, name: "triage" }] },
    "/datasets": { datasets: [{ id: 5, name: "tickets" }] },
    "/training/jobs": { jobs: [{ id: 7, model_id: 3, status: "JOB_STATUS_FAILED" }] },
  };

  it("finds pages, models, datasets and jobs, and goes by arrows and Enter", async () => {
    answer(hub);
    const change = vi.fn();
    renderInShell(<Palette open onOpenChange={change} />);
    await userEvent.type(screen.getByRole("combobox", { name: "Jump to" }), "triage");
    await screen.findByRole("option", { name: /Job 7 · triage failed/ });
    expect(screen.getAllByRole("option").map((option) => option.textContent)).toEqual(["triagemodel", "Job 7 · triagefailed"]);
    await userEvent.keyboard("{ArrowDown}");
    expect(screen.getByRole("combobox")).toHaveAttribute("aria-activedescendant", screen.getByRole("option", { selected: true }).id);
    await userEvent.keyboard("{Enter}");
    expect(push).toHaveBeenCalledWith("/training/?id=7");
    expect(change).toHaveBeenCalledWith(false);
  });

  it("says so when nothing has the name, and still knows the pages while the hub is away", async () => {
    answer({});
    renderInShell(<Palette open onOpenChange={() => {}} />);
    expect(screen.getByRole("option", { name: /Playground/ })).toBeVisible();
    await userEvent.type(screen.getByRole("combobox"), "zzz{Enter}");
    expect(screen.getByText("Nothing has this name.")).toBeVisible();
    expect(push).not.toHaveBeenCalled();
  });
});

describe("the key prompt", () => {
  const refusal = () => Response.json({ code: 16, message: "a key is needed", details: [] }, { status: 401 });
  function Engines() {
    return <p>{useEngines().data ? "engines came" : "no engines"}</p>;
  }

  it("asks when the hub wants a key, says when one is not known, and sends the right one", async () => {
    const fetched = answer({});
    fetched.mockImplementation(async (input) =>
      (input as Request).headers.get("authorization") === "Bearer good" ? Response.json({ engines: [] }) : refusal());
    renderInShell(<><Engines /><KeyPrompt /></>);
    const field = () => screen.findByLabelText("API key");
    expect(await field()).toHaveAttribute("type", "password");
    expect(screen.getByRole("button", { name: "Use this key" })).toBeDisabled();
    await userEvent.type(await field(), "bad{Enter}");
    await waitFor(() => expect(screen.getByLabelText("API key")).toHaveAccessibleDescription(/does not know the key/));
    await userEvent.type(await field(), " good {Enter}");
    await screen.findByText("engines came");
    expect(screen.queryByRole("dialog")).toBeNull();
    expect(Object.values(localStorage)).not.toContain("good");
  });
});

describe("the connection", () => {
  it("tells offline, and says when the hub is back, asking everything anew", async () => {
    const fetched = answer({});
    const { client } = renderInShell(<><Connection /><OfflineBanner /></>);
    expect(await screen.findByRole("alert")).toHaveTextContent("The hub does not answer.");
    expect(screen.getByText("Offline")).toBeVisible();
    const anew = vi.spyOn(client, "invalidateQueries");
    fetched.mockImplementation(async () => Response.json(SERVING));
    await client.refetchQueries();
    await screen.findByText("The hub is back.");
    expect(screen.queryByText(/does not answer/)).toBeNull();
    expect(anew).toHaveBeenCalled();
  });

  it("names a service that does not serve", async () => {
    answer({ "/health": { services: [...SERVING.services.slice(1), { name: "registry", status: "SERVING_STATUS_NOT_SERVING" }] } });
    renderInShell(<><Connection /><OfflineBanner /></>);
    expect(await screen.findByText("registry not serving")).toBeVisible();
    expect(screen.queryByRole("alert")).toBeNull();
  });
});
