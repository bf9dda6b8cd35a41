import { fireEvent, render, screen, within } from "@testing-library/react";
import { chance, Tokens } from "./Tokens";

const likely = (id: number, text: string, share: number) => ({ id, text, bytes: "", logprob: Math.log(share) });
const tokens = [
  { token: likely(1, "<b>", 0.95), top: [likely(1, "<b>", 0.95), likely(2, "A", 0.05)] },
  { token: likely(9, "\n", 0.05), top: [likely(3, ".", 0.6), likely(4, "!", 0.3)] },
];
const cells = () => within(screen.getByRole("table")).getAllByRole("row").slice(1).map((row) => [...row.children].filter((cell) => !cell.ariaHidden).map((cell) => cell.textContent).join(" | "));

test("each token says how likely it was, not by colour alone, and its text is text", () => {
  const { container } = render(<Tokens tokens={tokens} />);
  const [first, second] = screen.getAllByRole("option");
  expect(first).toHaveAccessibleName("<b>, 95.0 %");
  expect(second).toHaveTextContent("↵");
  expect(first!.className).not.toContain("underline ");
  expect(second!.className).toContain("decoration-double");
  expect(container.querySelector("b")).toBeNull();
});

test("keys lead from token to token, and the one in focus tells its alternatives", () => {
  render(<Tokens tokens={tokens} />);
  const [first, second] = screen.getAllByRole("option");
  expect(screen.queryByRole("table")).toBeNull();
  fireEvent.focus(first!);
  expect(cells()).toEqual(["<b>taken | 1 | 95.0 %", "A | 2 | 5.00 %"]);
  fireEvent.keyDown(first!, { key: "ArrowRight" });
  expect(second).toHaveFocus();
  expect(cells()).toEqual([". | 3 | 60.0 %", "! | 4 | 30.0 %", "↵\ntaken | 9 | 5.00 %"]); // the one taken, though it was none of the likeliest
  fireEvent.keyDown(second!, { key: "End" });
  expect([first, second].map((one) => one!.tabIndex)).toEqual([-1, 0]); // one stop for Tab
});

test("what is hardly likely is not shown as impossible", () => {
  expect([chance(0), chance(Math.log(0.00001)), chance(-Infinity)]).toEqual(["100.0 %", "< 0.01 %", "0.00 %"]);
});
