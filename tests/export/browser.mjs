// Opens an exported page in headless Chromium and prints what it says, as JSON.
//   node browser.mjs NODE_MODULES CHROMIUM FOLDER SCREENSHOT IMAGE...
// The images are chosen by the page's own file input; afterwards the page is loaded again without
// a server.
import {readFileSync} from "node:fs";
import {createServer} from "node:http";
import {createRequire} from "node:module";
import {join} from "node:path";

const [modules, executablePath, folder, screenshot, ...images] = process.argv.slice(2);
const types = {html: "text/html", js: "text/javascript", json: "application/json", wasm: "application/wasm"};
const server = createServer((request, response) => {
  const name = request.url === "/" ? "index.html" : request.url.slice(1);
  response.setHeader("Content-Type", types[name.split(".").pop()] ?? "application/octet-stream");
  response.end(readFileSync(join(folder, name)));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${server.address().port}/`;
const puppeteer = createRequire(modules + "/")("puppeteer-core");
const browser = await puppeteer.launch({executablePath, headless: true, args: ["--no-sandbox"]});
const page = await browser.newPage();
const problems = [], answers = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
const ready = () => page.waitForFunction(
  () => !document.querySelector("#status").textContent.startsWith("Loading"), {timeout: 120000});
const shown = () => page.$$eval("#answers li", (rows) =>
  rows.map((row) => [row.querySelector("bdi").textContent, Number(row.dataset.probability)]));
async function choose(image) {
  await page.$eval("#answers", (list) => list.replaceChildren());
  await (await page.$("#file")).uploadFile(image);
  await page.waitForFunction(() => document.querySelector("#answers").children.length
    || document.querySelector("#status").className, {timeout: 120000});
  return shown();
}

await page.setViewport({width: 390, height: 844});  // a phone's
await page.goto(url);
await ready();
for (const image of images) answers.push(await choose(image));
await page.screenshot({path: screenshot});
const overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
await page.emulateMediaFeatures([{name: "prefers-color-scheme", value: "dark"}]);
await page.screenshot({path: screenshot.replace(".png", "-dark.png")});
await choose(process.argv[1]);  // no image
const refused = await page.$eval("#status", (status) => status.textContent);
server.close();
server.closeAllConnections();
await page.reload();
await ready();
const offline = await choose(images[0]);
await browser.close();
console.log(JSON.stringify({answers, problems, overflow, refused, offline}));
