// The page of `tidegate serve` in a real browser: two tabs chat, echoes come back equal, the counters
// move, and the page finds the server again after a restart. With WSS set, all of it over https and wss.
//
//   WSS            1: the server makes itself a certificate, which the browser is told to put up with
//   TIDEGATE_BIN   the program (default: target/release/tidegate of this checkout)
//   CHROMIUM       the browser (default: /usr/bin/chromium)
//   SCREENSHOT     PATH.png: saves PATH.png, PATH-dark.png and PATH-phone.png

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const PROGRAM = process.env.TIDEGATE_BIN || fileURLToPath(new URL("../../target/release/tidegate", import.meta.url));
const BROWSER_ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-first-run",
];
const WAIT = 10_000;
const SCHEME = process.env.WSS ? "https" : "http";
const TLS = process.env.WSS ? ["--tls-self-signed"] : [];

let server, browser, alice, bob;
const complaints = [];

/** Starts the server on `port` (0: any) and returns the port it says it listens on. */
async function start(port) {
  const child = spawn(PROGRAM, ["serve", "--bind", `127.0.0.1:${port}`, ...TLS], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (text) => { said += text; });
  const found = new Promise((resolve, reject) => {
    child.stdout.on("data", (text) => {
      said += text;
      const line = said.match(/https?:\/\/127\.0\.0\.1:(\d+)\//);
      if (line) resolve(Number(line[1]));
    });
    child.on("error", reject);
    child.on("exit", (code, signal) => reject(new Error(`the server ended (${signal ?? code}) and said:\n${said}`)));
    setTimeout(() => reject(new Error(`no address within ${WAIT} ms; the server said:\n${said}`)), WAIT).unref();
  });
  try {
    const bound = await found;
    server = child;
    return bound;
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

async function stop(signal) {
  if (!server || server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, "exit");
  server.kill(signal);
  await ended;
}

/** A tab in a context of its own, so that each has its own storage and so its own name. */
async function open(who, url) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 860 }, colorScheme: "light", ignoreHTTPSErrors: Boolean(process.env.WSS),
  });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.on("pageerror", (error) => complaints.push(`${who}: ${error}`));
  page.on("console", (message) => {
    // While the server is away the browser itself reports each failed attempt.
    const expected = /WebSocket connection to .* failed|ERR_CONNECTION_/.test(message.text());
    if (message.type() === "error" && !expected) complaints.push(`${who}: ${message.text()}`);
  });
  await page.goto(url);
  await connected(page);
  await page.getByTestId("name").fill(who);
  await page.getByTestId("name").press("Tab");
  return page;
}

const connected = (page) => page.locator("#state[data-state=open]").waitFor({ timeout: 25_000 });

async function say(from, text) {
  await from.getByTestId("chat-text").fill(text);
  await from.getByTestId("chat-send").click();
}

/** Waits until `page` shows exactly `text`, said by `who`, and returns whether it is shown as its own. */
async function heard(page, who, text) {
  const entry = page.locator("#chat-list > div", { has: page.locator(".by", { hasText: who }) }).filter({ hasText: text }).first();
  await entry.waitFor();
  assert.equal(await entry.evaluate((item) => item.lastChild.data), text);
  assert.equal(await entry.locator("b").count(), 0, "markup of a message must not become markup of the page");
  return entry.evaluate((item) => item.classList.contains("mine"));
}

/** Sends what the form holds and returns the row that the answer makes. */
async function echoed(page) {
  const rows = page.locator("#echo-list > div");
  const before = await rows.count();
  await page.getByTestId("echo-send").click();
  await rows.nth(before).waitFor();
  return rows.nth(before).evaluate((row) => ({ ...row.dataset, text: row.textContent }));
}

before(async () => {
  const url = `${SCHEME}://127.0.0.1:${await start(0)}/`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium", headless: true, args: BROWSER_ARGS, timeout: 20_000,
  });
  alice = await open("Alice", url);
  bob = await open("Bob", url);
});

after(async () => {
  await browser?.close();
  await stop("SIGKILL");
});

test("two tabs chat, and markup stays text", async () => {
  await say(alice, "ahoy <b>Bob</b> & co");
  assert.equal(await heard(bob, "Alice", "ahoy <b>Bob</b> & co"), false);
  assert.equal(await heard(alice, "Alice", "ahoy <b>Bob</b> & co"), true);
  await say(bob, "größer 潮 🌊");
  assert.equal(await heard(alice, "Bob", "größer 潮 🌊"), false);
  assert.equal(await heard(bob, "Bob", "größer 潮 🌊"), true);
});

test("the page is secure where the server is", async () => {
  assert.equal(new URL(alice.url()).protocol, `${SCHEME}:`);
  const [socket] = await Promise.all([alice.waitForEvent("websocket"), alice.reload()]);
  assert.ok(socket.url().startsWith(SCHEME === "https" ? "wss://" : "ws://"), socket.url());
  await connected(alice);
});

test("text comes back equal", async () => {
  for (const text of ["plain", "größer, 潮, 🌊", "", "x".repeat(70_000)]) {
    await alice.getByTestId("echo-text").fill(text);
    const row = await echoed(alice);
    assert.equal(row.equal, "true", row.text);
    assert.equal(row.kind, "text");
    assert.match(row.text, /equal · \d+\.\d ms/);
    assert.ok(row.text.endsWith(text.length > 200 ? "…" : text));
  }
});

test("binary comes back equal", async () => {
  await alice.getByText("Bytes in hex", { exact: true }).first().click();
  await alice.getByTestId("echo-hex").fill("00 ff 7f 80");
  const few = await echoed(alice);
  assert.deepEqual([few.equal, few.kind], ["true", "binary"], few.text);
  assert.ok(few.text.endsWith("00 ff 7f 80"));
  await alice.getByTestId("echo-hex").fill("0g");
  await alice.getByTestId("echo-send").click();
  assert.match(await alice.locator("#echo-hint").textContent(), /hex digits/);

  await alice.getByText("Random bytes", { exact: true }).click();
  for (const size of ["0", "125", "65536", "1048576"]) {
    await alice.getByTestId("echo-size").fill(size);
    const row = await echoed(alice);
    assert.deepEqual([row.equal, row.kind], ["true", "binary"], row.text);
  }
});

test("the live counters appear and move", async () => {
  await alice.waitForFunction(() => /^\d+$/.test(document.getElementById("open").textContent));
  assert.ok(Number(await alice.getByTestId("open").textContent()) >= 6, "two tabs hold three connections each");
  const uptime = await alice.getByTestId("uptime").textContent();
  await alice.waitForFunction((old) => document.getElementById("uptime").textContent !== old, uptime);
  const points = await alice.locator("#messages-line polyline").getAttribute("points");
  assert.ok(points.trim().split(" ").length >= 2, points);
  await alice.getByTestId("echo-size").fill("1000");
  const until = Date.now() + WAIT; // some second's push must have counted these
  while ((await alice.getByTestId("messages-in").textContent()) === "0" && Date.now() < until) {
    await echoed(alice);
    await sleep(50);
  }
  assert.notEqual(await alice.getByTestId("messages-in").textContent(), "0");
});

test("screenshots", { skip: process.env.SCREENSHOT ? false : "SCREENSHOT is not set" }, async () => {
  const path = (suffix) => process.env.SCREENSHOT.replace(/(\.png)?$/, `${suffix}.png`);
  await alice.screenshot({ path: path("") });
  await alice.emulateMedia({ colorScheme: "dark" });
  await alice.screenshot({ path: path("-dark") });
  await alice.setViewportSize({ width: 390, height: 844 });
  assert.equal(await alice.evaluate(() => document.documentElement.scrollWidth), 390, "nothing sticks out sideways");
  await alice.screenshot({ path: path("-phone"), fullPage: true });
});

test("the page comes back after the server did", async () => {
  const port = Number(new URL(alice.url()).port);
  await stop("SIGKILL");
  for (const page of [alice, bob]) {
    await page.locator("#state[data-state=waiting]").waitFor();
    assert.match(await page.getByTestId("state").textContent(), /^reconnecting in \d+ s$/);
    assert.ok(await page.getByTestId("chat-send").isDisabled());
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      assert.equal(await start(port), port);
      break;
    } catch (error) {
      if (attempt === 20) throw error;
      await sleep(250); // the port may still be held
    }
  }
  await Promise.all([connected(alice), connected(bob)]);
  await say(bob, "back again");
  await heard(alice, "Bob", "back again");
});

test("the browser had nothing to complain about", () => {
  assert.deepEqual(complaints, []);
});
