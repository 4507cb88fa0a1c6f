// permessage-deflate against real peers: Chromium, and `ws` of npm, with context takeover on both sides, on one, on none.
//
//   TIDEGATE_BIN   the program (default: target/release/tidegate of this checkout)
//   CHROMIUM       the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import WebSocket from "ws";

const PROGRAM = process.env.TIDEGATE_BIN || fileURLToPath(new URL("../../target/release/tidegate", import.meta.url));
const WAIT = 10_000;
const NONE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

const servers = {};
let browser;

async function start(mode) {
  const args = ["serve", "--bind", "127.0.0.1:0", "--deflate", mode, "--deflate-min", "1", "--fragment-bytes", "20000"];
  const child = spawn(PROGRAM, args, { stdio: ["ignore", "pipe", "inherit"] });
  servers[mode] = { child };
  let said = "";
  for await (const text of child.stdout) {
    said += text;
    const line = said.match(/127\.0\.0\.1:(\d+)\//);
    if (line) return (servers[mode].address = `127.0.0.1:${line[1]}`);
  }
  throw new Error(`the server ended and said:\n${said}`);
}

/** Messages that repeat each other, repeat themselves, and do neither. */
function messages() {
  const noise = (length) => Uint8Array.from({ length }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 13) & 255);
  const list = [];
  for (let round = 0; round < 5; round += 1) {
    list.push("", "a", `{"round":${round},"tide":"rising"}`, "größer 潮 🌊 ".repeat(100 + round));
    list.push("x".repeat(70_000 + round), noise(3_000 + round), noise(70_000), new Uint8Array(200_000));
  }
  return list;
}

before(async () => {
  await Promise.all(["off", "shared", "dedicated"].map(start));
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium", headless: true, timeout: 20_000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"],
  });
});

after(async () => {
  await browser?.close();
  for (const { child } of Object.values(servers)) child.kill("SIGKILL");
});

const answers = { off: "", shared: NONE, dedicated: "permessage-deflate" };

for (const [mode, answer] of Object.entries(answers)) {
  test(`Chromium, ${mode}`, async () => {
    const page = await browser.newPage();
    await page.goto(`http://${servers[mode].address}/`);
    const told = await page.evaluate(`(${inPage})(${messages})`);
    assert.deepEqual(told, { extensions: answer, wrong: [], count: 40, closed: 1000 });
    await page.close();
  });
}

/** Runs in the page: all of the messages there and back, several on the way at once. */
function inPage(messages) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${location.host}/echo`);
    socket.binaryType = "arraybuffer";
    const list = messages();
    const wrong = [];
    let count = 0;
    const same = (a, b) => (typeof a === "string" ? a === b : a.length === b.byteLength && new Uint8Array(b).every((byte, i) => byte === a[i]));
    socket.onopen = () => list.forEach((message) => socket.send(message));
    socket.onerror = () => reject(new Error("the WebSocket failed"));
    socket.onmessage = ({ data }) => {
      if (!same(list[count], data)) wrong.push(count);
      count += 1;
      if (count === list.length) socket.close(1000);
    };
    socket.onclose = ({ code }) => resolve({ extensions: socket.extensions, wrong, count, closed: code });
  });
}

const offers = [
  ["nothing asked for", {}],
  ["the server shall forget", { serverNoContextTakeover: true }],
  ["the client forgets", { clientNoContextTakeover: true }],
  ["both forget", { serverNoContextTakeover: true, clientNoContextTakeover: true }],
  ["small windows", { serverMaxWindowBits: 9, clientMaxWindowBits: 10 }],
  ["the smallest window", { serverMaxWindowBits: 8 }],
];

for (const mode of ["shared", "dedicated"]) {
  for (const [name, offer] of offers) {
    test(`ws, ${mode}, ${name}`, async () => {
      const socket = new WebSocket(`ws://${servers[mode].address}/echo`, {
        perMessageDeflate: { ...offer, threshold: 0 }, handshakeTimeout: WAIT,
      });
      const list = messages();
      const heard = [];
      socket.on("message", (data, binary) => heard.push(binary ? new Uint8Array(data) : data.toString()));
      await once(socket, "open");
      assert.match(socket.extensions, /^permessage-deflate/);
      for (const message of list) socket.send(message);
      // In fragments too, which `ws` compresses one by one.
      for (const [at, part] of ["in ", "three ", "fragments"].entries()) socket.send(part, { fin: at === 2 });
      while (heard.length < list.length + 1) await once(socket, "message");
      assert.deepEqual(heard, [...list, "in three fragments"]);
      socket.close(1000);
      const [code] = await once(socket, "close");
      assert.equal(code, 1000);
    });
  }
}
