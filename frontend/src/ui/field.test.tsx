import { render, screen } from "@testing-library/react";
import { ApiError } from "@/api/errors";
import { Field, Input } from "./field";

const refusal = new ApiError("no", 400, "INVALID_FIELD", {}, { "stop[1]": "must be shorter", stopped: "no such field" });

test("what the hub says of one of a list's parts stands at the list", () => {
  render(<><Field label="Stop" name="stop" refusal={refusal}><Input /></Field><Field label="Top" name="top_k" refusal={refusal}><Input /></Field></>);
  expect(screen.getByLabelText("Stop")).toHaveAccessibleDescription("stop[1]: must be shorter");
  expect(screen.getByLabelText("Stop")).toBeInvalid();
  expect(screen.getByLabelText("Top")).not.toBeInvalid();
});
