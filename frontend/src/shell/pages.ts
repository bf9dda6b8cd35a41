import { Activity, BarChart3, Boxes, Database, GraduationCap, type LucideIcon, MessagesSquare } from "lucide-react";

export interface Page { href: string; label: string; icon: LucideIcon; key: string }

/** The pages, as the sidebar, the palette and `g` + letter know them. */
export const PAGES: readonly Page[] = [
  { href: "/", label: "Overview", icon: Activity, key: "o" },
  { href: "/models/", label: "Models", icon: Boxes, key: "m" },
  { href: "/datasets/", label: "Datasets", icon: Database, key: "d" },
  { href: "/training/", label: "Training", icon: GraduationCap, key: "t" },
  { href: "/playground/", label: "Playground", icon: MessagesSquare, key: "p" },
  { href: "/metrics/", label: "Metrics", icon: BarChart3, key: "e" },
];

export const isAt = (path: string, href: string) => (href === "/" ? path === "/" : path.startsWith(href.slice(0, -1)));
