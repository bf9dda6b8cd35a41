import { render, screen } from "@testing-library/react";
import { asked, close, reduce } from "./answer";
import { AnswerCard } from "./AnswerCard";

const begun = reduce(asked("tickets:champion"), [{ delta: { text: "<b>Half</b> **an**", tokens: 3 } } as never], 50);

test("an answer is text, whatever it looks like", () => {
  const { container } = render(<AnswerCard answer={close(begun)} />);
  expect(screen.getByText("<b>Half</b> **an**")).toBeVisible();
  expect(container.querySelector("b, strong")).toBeNull();
});

test("a cut is said, and only a record can be asked why", () => {
  const { rerender } = render(<AnswerCard answer={close(begun)} />);
  expect(screen.getByRole("alert")).toHaveTextContent("The stream was cut");
  expect(screen.queryByRole("button", { name: /Why/ })).toBeNull();
  const completion = { text: "Whole", tokens: 3, generation_id: "g", finish_reason: "FINISH_REASON_LENGTH", prompt_tokens: 9, cached_tokens: 4 };
  rerender(<AnswerCard answer={reduce(begun, [{ completion } as never], 90)} />);
  expect(screen.queryByRole("alert")).toBeNull();
  expect(screen.getByText("cut at the most tokens")).toBeVisible();
  expect(screen.getByText("4 of 9")).toBeVisible();
  expect(screen.getByRole("button", { name: /Why/ })).toBeVisible();
});

test("while nothing came it says what is going on", () => {
  render(<AnswerCard answer={asked("tickets")} />);
  expect(screen.getByRole("status")).toHaveTextContent("Reads the prompt…");
});

test("no button comes before the end, when the last of them would move the others", () => {
  const { rerender } = render(<AnswerCard answer={begun} />);
  expect(screen.queryByRole("button")).toBeNull();
  rerender(<AnswerCard answer={close(begun)} />);
  expect(screen.getByRole("button", { name: "Copy the answer" })).toBeVisible();
});
