import { defineConfig } from "vite";

const SERVER = process.env["FLYWHEEL_COLLECT"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  build: {
    outDir: "../static",
    emptyOutDir: true,
    // Two pages: the one people play on, and the one their plays are corrected on.
    rolldownOptions: {
      input: ["index.html", "annotate.html"],
      // three.js is most of it and changes least: on its own it stays in browsers' caches.
      output: { codeSplitting: { groups: [{ name: "three", test: /node_modules(?!.*(GLTFLoader|BufferGeometryUtils|SkeletonUtils))/ }] } },
    },
    target: "es2022",
    // The content security policy of the server allows files of its own, nothing written into other files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
  },
  server: {
    // `npx vite` while working on the page: everything but the page comes from a running `flywheel collect`.
    proxy: {
      "/api": SERVER,
      "/ws": { target: SERVER, ws: true },
    },
  },
});
