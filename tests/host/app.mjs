// Plays the desktop app round the host module: node app.mjs <options as JSON>
//
// It says each thing that happens as one line of JSON, and takes commands in the same
// way. With `hold` an update is shown when it is told ["show"], and refused when it is
// told ["fail"]; else after up to `slowest` ms. With `notes` it shows notes, but none
// with the title "no". The end of its input disposes the host.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { MaterializerHost, toRenderer } from "./host.js";

const { hold = false, slowest = 0, notes, ...options } = JSON.parse(process.argv[2]);
const say = (...words) => process.stdout.write(`${JSON.stringify(words)}\n`);

let holding = hold;
let held = { resolve() {}, reject() {} };

async function turn(seq) {
  if (!holding) return sleep(Math.random() * slowest);
  const told = new Promise((resolve, reject) => (held = { resolve, reject }));
  say("held", seq);
  return told;
}

const host = new MaterializerHost({
  ...options,
  async onUpdate(update) {
    await turn(update.seq);
    await toRenderer((...sent) => say("sent", update.seq, ...sent))(update);
  },
  ...(notes && {
    async onNotification(note) {
      say("note", note);
      if (note.title === "no") throw new Error("no window");
    },
  }),
  onStatus({ state, hello, error, retryInMs }) {
    if (state === "attached") say(state, hello);
    else say(state, error.message, retryInMs);
  },
});

const commands = {
  show: () => held.resolve(),
  fail: (why) => held.reject(new Error(why)),
  hurry() {
    holding = false;
    held.resolve();
  },
  ask: (method, params) =>
    host.request(method, params).then(
      (answer) => say("answer", answer),
      (error) => say("refused", error.code ?? null, error.message),
    ),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = JSON.parse(line);
  void commands[command](...words);
}
await host.dispose();
say("disposed");
