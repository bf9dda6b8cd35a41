import type { NextConfig } from "next";

// Plain files under /ui/, which the gateway serves by itself: docs/adr/0040-serving-the-ui.md.
if (process.env.NODE_ENV === "production" && process.env.NEXT_PUBLIC_API_BASE_URL)
  throw new Error("NEXT_PUBLIC_API_BASE_URL is for `next dev` alone: the policy of a built UI lets it call its own origin only. Unset it.");

const config: NextConfig = {
  output: "export",
  basePath: "/ui",
  trailingSlash: true,
  images: { unoptimized: true },
  poweredByHeader: false,
  reactStrictMode: true,
  typescript: { ignoreBuildErrors: true }, // `make frontend` has checked them
  eslint: { ignoreDuringBuilds: true },
  generateBuildId: () => process.env.MLX_HUB_UI_BUILD ?? "development",
};

export default config;
