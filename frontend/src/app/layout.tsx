import "@fontsource-variable/inter/wght.css";
import "./globals.css";
import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";
import { THEME_SCRIPT } from "@/lib/theme";
import { Shell } from "@/shell/Shell";

export const metadata: Metadata = {
  title: { default: "MLX Model Hub", template: "%s · MLX Model Hub" },
  description: "Models, training and serving on this machine",
};

export const viewport: Viewport = { width: "device-width", initialScale: 1 };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en" suppressHydrationWarning>
      <head><script dangerouslySetInnerHTML={{ __html: THEME_SCRIPT }} /></head>
      <body><Shell>{children}</Shell></body>
    </html>
  );
}
