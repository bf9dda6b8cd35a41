import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { ApiError } from "@/api/errors";
import { Confirm, Digest, ErrorState, Field, Input, Table, Time } from ".";

it("shows the hub's violation at its field, and wires it to the control", () => {
  const refusal = new ApiError("no", 400, "INVALID_FIELD", {}, { lora_rank: "must be at most 256" });
  render(<><Field label="Rank" name="lora_rank" refusal={refusal} hint="Default 8"><Input /></Field><Field label="Seed" name="seed" refusal={refusal} hint="Any"><Input /></Field></>);
  expect(screen.getByLabelText("Rank")).toHaveAccessibleDescription("must be at most 256");
  expect(screen.getByLabelText("Rank")).toBeInvalid();
  expect(screen.getByLabelText("Seed")).toHaveAccessibleDescription("Any");
});

it("says what went wrong, why, what to do, and under which id", () => {
  render(<ErrorState error={new ApiError("no room", 429, "OUT_OF_MEMORY", {}, {}, "0123456789ab")} retry={() => {}} />);
  const alert = screen.getByRole("alert");
  for (const text of ["no room", "OUT_OF_MEMORY", "Unload a model, or ask for less."]) expect(alert).toHaveTextContent(text);
  expect(alert).toHaveTextContent("request 01234567");
  expect(within(alert).getByRole("button", { name: "Try again" })).toBeEnabled();
});

it("stays open with the reason when a confirmed act is refused", async () => {
  const change = vi.fn();
  render(<Confirm open onOpenChange={change} title="Delete?" action="Delete" onConfirm={() => Promise.reject(new ApiError("it is in use", 400))} />);
  await userEvent.click(screen.getByRole("button", { name: "Delete" }));
  expect(await screen.findByRole("alert")).toHaveTextContent("it is in use");
  expect(change).not.toHaveBeenCalled();
});

it("copies the whole digest", async () => {
  const user = userEvent.setup();
  render(<Digest value={"ab".repeat(32)} />);
  await user.click(screen.getByRole("button", { name: "Copy the whole digest" }));
  expect(await navigator.clipboard.readText()).toBe("ab".repeat(32));
});

it("tells the exact time in the title", () => {
  render(<Time value="2020-01-01T00:00:00Z" />);
  expect(screen.getByText(/d ago/)).toHaveAttribute("title", expect.stringContaining("20"));
});

describe("Table", () => {
  const rows = Array.from({ length: 10_000 }, (_, id) => ({ id, name: `row ${9999 - id}` }));
  const columns = [{ id: "id", header: "Id", value: (r: { id: number }) => r.id, cell: (r: { id: number }) => r.id }, { id: "name", header: "Name", cell: (r: { name: string }) => r.name }];

  it("draws a few of ten thousand, sorts, moves by keys and opens", async () => {
    vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(640);
    vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(800);
    const open = vi.fn();
    render(<Table label="Rows" columns={columns} rows={rows} rowId={(r) => r.id} onOpen={open} />);
    const shown = () => screen.getAllByRole("row").slice(1);
    expect(shown().length).toBeGreaterThan(10);
    expect(shown().length).toBeLessThan(80);
    await userEvent.click(screen.getByRole("button", { name: "Id" }));
    expect(screen.getByRole("columnheader", { name: "Id" })).toHaveAttribute("aria-sort", "descending");
    expect(shown()[0]).toHaveTextContent("9999row 0");
    await userEvent.click(screen.getByRole("button", { name: "Id" }));
    expect(shown()[0]).toHaveTextContent("0row 9999");
    shown()[0]!.focus();
    await userEvent.keyboard("{ArrowDown}");
    await waitFor(() => expect(shown()[1]).toHaveFocus());
    await userEvent.keyboard("{Enter}");
    expect(open).toHaveBeenCalledTimes(1);
  });
});
