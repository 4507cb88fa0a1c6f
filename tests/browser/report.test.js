// The page that `loadtest --html` writes, in a real browser: it opens from a file, asks the network for nothing,
// runs no script, and shows verdict, figures and plots in light and dark.
//
//   TIDEGATE_BIN, LOADTEST_BIN   the programs (default: target/release/ of this checkout)
//   CHROMIUM                     the browser (default: /usr/bin/chromium)
//   SCREENSHOT                   PATH.png: saves PATH-report.png and PATH-report-dark.png

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const program = (name) => fileURLToPath(new URL(`../../target/release/${name}`, import.meta.url));
const SERVER = process.env.TIDEGATE_BIN || program("tidegate");
const LOADTEST = process.env.LOADTEST_BIN || program("loadtest");

let folder, browser, file, verdict;

/** A port that nobody listens on. */
async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "loadtest-page-"));
  file = join(folder, "run.html");
  const words = [
    "echo", `ws://127.0.0.1:${await freePort()}/echo`, "--server", `'${SERVER}' serve --bind 127.0.0.1:{port}`,
    "--connections", "20", "--rate", "500", "--warmup", "200ms", "--duration", "1s",
    "--title", "a run with a <b>hostile</b> title", "--html", file,
  ];
  // 3 is a run on a machine that was too busy: its page must say so.
  const ended = await promisify(execFile)(LOADTEST, words, { timeout: 40_000 }).catch((error) => error);
  const code = ended.code ?? 0;
  assert.ok(code === 0 || code === 3, `exit code ${code}: ${ended.stderr}`);
  verdict = code === 0 ? "VALID" : "INVALID";
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
});

after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

for (const colorScheme of ["light", "dark"]) {
  test(`the page of a run opens without a network, ${colorScheme}`, async () => {
    const context = await browser.newContext({ colorScheme, viewport: { width: 1000, height: 1000 } });
    const page = await context.newPage();
    const asked = [], complaints = [];
    page.on("request", (request) => asked.push(request.url()));
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(pathToFileURL(file).href);
    assert.deepEqual(asked, [pathToFileURL(file).href]);
    assert.deepEqual(complaints, []);
    assert.equal(await page.locator("script").count(), 0);
    assert.equal(await page.locator("h1").innerText(), "a run with a <b>hostile</b> title");
    assert.equal(await page.locator(".verdict .word").first().innerText(), verdict);
    for (const text of ["p99", "server_cpu_per_message", "Latency by percentile", "kernel"]) {
      assert.ok(await page.getByText(text, { exact: false }).count() > 0, `no ${text} on the page`);
    }
    const plots = page.locator("svg");
    assert.ok(await plots.count() >= 4, `${await plots.count()} plots`);
    assert.ok(await page.locator("svg polyline").count() > 0, "no plot has a line");
    const [paper, ink] = await page.evaluate(() => {
      const style = getComputedStyle(document.body);
      return [style.backgroundColor, style.color];
    });
    assert.notEqual(paper, ink);
    const ending = colorScheme === "dark" ? "-report-dark.png" : "-report.png";
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT.replace(/\.png$/, ending) });
    await context.close();
  });
}
