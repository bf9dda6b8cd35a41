import { useRouter } from "next/navigation";
import { useEffect, useRef } from "react";
import { PAGES } from "./pages";

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** Ctrl/⌘ K and `/` search, `?` helps, `g` and a letter goes to a page. */
export function useShortcuts(open: { palette: () => void; help: () => void }): void {
  const router = useRouter();
  const latest = useRef(open);
  latest.current = open;
  useEffect(() => {
    let went = 0; // when `g` was pressed
    const press = (event: KeyboardEvent) => {
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        latest.current.palette();
      } else if (!plain || isTyping(event.target) || document.querySelector("[role=dialog]")) {
        return;
      } else if (event.key === "/" || event.key === "?") {
        event.preventDefault();
        latest.current[event.key === "/" ? "palette" : "help"]();
      } else if (event.timeStamp - went < 1500) {
        const page = PAGES.find(({ key }) => key === event.key);
        went = 0;
        if (page) router.push(page.href);
      } else if (event.key === "g") {
        went = event.timeStamp;
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [router]);
}
