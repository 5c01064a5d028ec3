// Builds src/web/static/ from assets/ and packages, so that pages load nothing from other servers.
import { copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { bundle } from "lightningcss";

const out = "src/web/static";
const font = "node_modules/@fontsource-variable/bricolage-grotesque/files/bricolage-grotesque-latin-wght-normal.woff2";

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
writeFileSync(`${out}/souk.css`, bundle({ filename: "assets/souk.css", minify: true }).code);
copyFileSync("node_modules/htmx.org/dist/htmx.min.js", `${out}/htmx.js`);
copyFileSync("node_modules/idiomorph/dist/idiomorph-ext.min.js", `${out}/morph.js`);
copyFileSync("node_modules/swagger-ui-dist/swagger-ui.css", `${out}/swagger-ui.css`);
copyFileSync("node_modules/swagger-ui-dist/swagger-ui-bundle.js", `${out}/swagger-ui.js`);
copyFileSync("node_modules/@noble/ed25519/index.js", `${out}/ed25519.js`);
copyFileSync("node_modules/jsqr/dist/jsQR.js", `${out}/qr-reader.js`);
copyFileSync(font, `${out}/bricolage.woff2`);
for (const file of readdirSync("assets")) {
  if (!file.endsWith(".css")) copyFileSync(`assets/${file}`, `${out}/${file}`);
}
