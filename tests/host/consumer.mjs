// Shows what a desktop app does: node consumer.mjs <endpoint.json> <consumer> <count>
//
// Connects to the daemon, subscribes, prints each display update as one line of JSON
// with the sizes of its files as this program finds them, acknowledges it, and leaves
// after <count> of them. Needs nothing but Node itself.

import { readFileSync, statSync } from "node:fs";
import { createConnection } from "node:net";
import { createInterface } from "node:readline";

const [endpointFile, consumer, count] = process.argv.slice(2);
const { path, protocol } = JSON.parse(readFileSync(endpointFile, "utf8"));
const socket = createConnection(path);
const waiting = new Map();
let lastId = 0;

function call(method, params) {
  const id = ++lastId;
  socket.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

function settle({ id, result, error }) {
  const call = waiting.get(id);
  waiting.delete(id);
  if (error) call.reject(new Error(`${error.code} ${error.message}`));
  else call.resolve(result);
}

function sizes({ filePath, filePaths }) {
  const files = filePaths ?? (filePath ? [filePath] : []);
  return files.map((file) => statSync(file, { throwIfNoEntry: false })?.size ?? null);
}

async function main() {
  const messages = createInterface({ input: socket, crlfDelay: Infinity });
  let left = Number(count);
  const done = new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("the daemon has gone")));
    messages.on("line", async (line) => {
      const message = JSON.parse(line);
      if (message.method === undefined) return settle(message);
      if (message.method !== "display.update" || left === 0) return;
      left -= 1;
      const last = left === 0;
      const update = { ...message.params, sizes: sizes(message.params.payload.asset) };
      process.stdout.write(`${JSON.stringify(update)}\n`);
      await call("display.ack", { consumer, seq: message.params.seq });
      if (last) resolve();
    });
  });
  const started = call("hello", { client: "tests/host", protocol }).then(() =>
    call("display.subscribe", { consumer }),
  );
  await Promise.all([started, done]);
  socket.destroy();
}

main().catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
