// Makes src/web/static/ out of assets/ and the packages: nothing in a page comes from anybody else's server.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";

const out = "src/web/static";
const fonts = "node_modules/@fontsource-variable/bricolage-grotesque/files";

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
execFileSync(
  "node",
  ["node_modules/@tailwindcss/cli/dist/index.mjs", "-i", "assets/souk.css", "-o", `${out}/souk.css`, "--minify"],
  { stdio: ["ignore", "ignore", "inherit"] },
);
copyFileSync("node_modules/htmx.org/dist/htmx.min.js", `${out}/htmx.js`);
copyFileSync(`${fonts}/bricolage-grotesque-latin-wght-normal.woff2`, `${out}/bricolage.woff2`);
for (const file of readdirSync("assets")) {
  if (!file.endsWith(".css")) copyFileSync(`assets/${file}`, `${out}/${file}`);
}
