// Opens pages in Debian's chromium and holds them to what a report promises: it loads nothing but itself, runs no script, says nothing on the
// console, fits a telephone, a desk and a sheet of paper, and axe-core finds nothing serious.
//
//   node report.mjs CHROMIUM OUTDIR NAME=URL…
//
// Writes OUTDIR/NAME-WIDTH.png (and -dark, -paper), prints a line a page; exits 1 with every complaint if there is one.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// Not beside this script: `scripts/setup interop` installs them among the other tools.
const require = createRequire(join(process.env.BROWSER_TOOLS, "package.json"));
const { chromium } = await import(pathToFileURL(require.resolve("playwright-core")).href.replace(/index\.js$/, "index.mjs"));
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [program, out, ...pages] = process.argv.slice(2);
const WIDTHS = [320, 768, 1280];
const complaints = [];

const browser = await chromium.launch({ executablePath: program, headless: true, args: ["--no-sandbox"] });
for (const argument of pages) {
  const name = argument.slice(0, argument.indexOf("="));
  const url = argument.slice(argument.indexOf("=") + 1);
  const complain = (what) => complaints.push(`${name}: ${what}`);
  for (const width of WIDTHS) await look(name, url, { width, scheme: "light" }, complain);
  await look(name, url, { width: 1280, scheme: "dark" }, complain);
  await paper(name, url, complain);
  console.log(`${name}: ${complaints.length === 0 ? "nothing to complain about" : "complaints"}`);
}
await browser.close();
for (const complaint of complaints) console.error(complaint);
process.exit(complaints.length === 0 ? 0 : 1);

async function look(name, url, { width, scheme }, complain) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme });
  const page = await watched(context, url, (what) => complain(`${width} ${scheme}: ${what}`));
  const found = await page.evaluate(() => ({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    scripts: document.scripts.length,
    handlers: [...document.querySelectorAll("*")].flatMap((e) => [...e.attributes]).filter((a) => /^on/i.test(a.name)).length,
    loads: document.querySelectorAll("img,iframe,object,embed,link,video,audio,source,form,base,meta[http-equiv=refresh]").length,
    owned: Object.keys(window).includes("owned"),
    title: document.title,
    text: document.body.innerText.length,
  }));
  if (found.overflow > 0) complain(`${width} ${scheme}: ${found.overflow} pixels do not fit its width`);
  if (found.scripts + found.handlers + found.loads > 0 || found.owned) complain(`${width} ${scheme}: it is not only text ${JSON.stringify(found)}`);
  if (found.text < 1000) complain(`${width} ${scheme}: hardly any text is to be seen (${found.text} characters)`);
  await keyboard(page, (what) => complain(`${width} ${scheme}: ${what}`));
  await page.screenshot({ path: join(out, `${name}-${width}${scheme === "dark" ? "-dark" : ""}.png`), fullPage: true });
  await page.evaluate(axe);
  const results = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of results.violations) {
    const serious = impact === "serious" || impact === "critical";
    const line = `${width} ${scheme}: axe, ${impact}: ${id}: ${help} (${nodes.length}; ${nodes[0].target.join(" ")})`;
    if (serious) complain(line);
    else console.log(`${name}: ${line}`);
  }
  await context.close();
}

// A page on which every request but the page itself, every message and every error is a complaint.
async function watched(context, url, complain) {
  const page = await context.newPage();
  page.on("request", (request) => request.url() === url || complain(`it asks for ${request.url().slice(0, 200)}`));
  page.on("console", (message) => complain(`console: ${message.type()}: ${message.text().slice(0, 200)}`));
  page.on("pageerror", (error) => complain(`script error: ${error}`));
  page.on("dialog", (dialog) => { complain(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.goto(url, { waitUntil: "load" });
  return page;
}

// The first key leads to the link that skips the contents, and it works.
async function keyboard(page, complain) {
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => ({ href: document.activeElement.getAttribute("href"), seen: document.activeElement.getBoundingClientRect().left >= 0 }));
  if (first.href !== "#main" || !first.seen) complain(`the first stop of the keyboard is ${JSON.stringify(first)}`);
  await page.keyboard.press("Tab");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  if (outline === "none") complain("what has the focus cannot be seen");
}

// Without script, in print, for somebody whose screen is dark: dark ink on white paper, and nothing cut off.
async function paper(name, url, complain) {
  const context = await browser.newContext({ viewport: { width: 794, height: 1123 }, colorScheme: "dark", javaScriptEnabled: false });
  const page = await watched(context, url, (what) => complain(`paper: ${what}`));
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  await page.screenshot({ path: join(out, `${name}-paper.png`), fullPage: true });
  const pdf = await page.pdf({ path: join(out, `${name}.pdf`), format: "A4", margin: { top: "15mm", bottom: "15mm", left: "15mm", right: "15mm" } });
  if (pdf.length < 10_000) complain(`paper: a PDF of ${pdf.length} bytes`);
  await context.close();
  const scripted = await browser.newContext({ viewport: { width: 794, height: 1123 }, colorScheme: "dark" });
  const again = await scripted.newPage();
  await again.goto(url);
  await again.emulateMedia({ media: "print", colorScheme: "dark" });
  const seen = await again.evaluate(() => ({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
  }));
  if (seen.overflow > 0) complain(`paper: ${seen.overflow} pixels do not fit`);
  if (seen.paper !== "rgb(255, 255, 255)") complain(`paper: ${seen.ink} on ${seen.paper}`);
  await scripted.close();
}
