// The official JavaScript client, driven through stdin: does what each line says and
// prints [id, {value} or {error, data}]; values are in Convex's own JSON, long texts
// as their lengths. Arguments: the deployment's URL, how much faster its clocks run.
import { createInterface } from "node:readline";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";
import { convexToJson, jsonToConvex } from "convex/values";
import WebSocket from "ws";

const [url, speed] = process.argv.slice(2);
const { setTimeout } = globalThis;
globalThis.setTimeout = (f, ms, ...rest) => setTimeout(f, ms / Number(speed), ...rest);

const client = new ConvexClient(url, {
  logger: false,
  unsavedChangesWarning: false,
  webSocketConstructor: WebSocket,
});
let token = null;

const brief = (value) =>
  typeof value === "string" && value.length > 1000 ? { length: value.length } : value;
const say = (id, told) => console.log(JSON.stringify([id, told]));
const good = (id) => (value) => say(id, { value: brief(convexToJson(value ?? null)) });
const bad = (id) => (error) =>
  say(id, {
    error: error.message,
    ...(error.data === undefined ? {} : { data: convexToJson(error.data) }),
  });

const named = makeFunctionReference;
const commands = {
  auth(given) {
    token = given;
    client.setAuth(async () => token);
  },
  renew(given) {
    token = given;
  },
  subscribe(id, path, args) {
    client.onUpdate(named(path), jsonToConvex(args), good(id), bad(id));
  },
  mutation(id, path, args) {
    client.mutation(named(path), jsonToConvex(args)).then(good(id), bad(id));
  },
  action(id, path, args) {
    client.action(named(path), jsonToConvex(args)).then(good(id), bad(id));
  },
  http(id, kind, path, args, auth) {
    const http = new ConvexHttpClient(url, { logger: false, ...(auth && { auth }) });
    http[kind](named(path), jsonToConvex(args)).then(good(id), bad(id));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...given] = JSON.parse(line);
  commands[command](...given);
}
process.exit();
