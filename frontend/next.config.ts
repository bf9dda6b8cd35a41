import type { NextConfig } from "next";

// Plain files under /ui/, which the gateway serves by itself: docs/adr/0040-serving-the-ui.md.
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
