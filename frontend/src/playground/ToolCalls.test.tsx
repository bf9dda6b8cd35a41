import { fireEvent, render, screen } from "@testing-library/react";
import { ToolCalls } from "./ToolCalls";

const calls = [{ id: "a", name: "now", arguments: '{"zone":"<b>UTC</b>"}' }, { id: "b", name: "roll", arguments: "no JSON" }];

test("calls are shown as text, and their results sent in their order", () => {
  const sent: (readonly string[])[] = [];
  const { container, rerender } = render(<ToolCalls calls={calls} results={[]} onReply={(results) => sent.push(results)} />);
  expect([...container.querySelectorAll("[data-arguments]")].map((one) => one.textContent)).toEqual(['{\n  "zone": "<b>UTC</b>"\n}', "no JSON"]);
  expect(container.querySelector("b")).toBeNull();
  fireEvent.change(screen.getByLabelText("Result of roll"), { target: { value: "six" } });
  fireEvent.click(screen.getByRole("button", { name: "Send the results" }));
  expect(sent).toEqual([["", "six"]]);
  rerender(<ToolCalls calls={calls} results={["", "six"]} onReply={undefined} />);
  expect(screen.getByText("six")).toBeVisible();
  expect(screen.queryByRole("textbox")).toBeNull();
});
