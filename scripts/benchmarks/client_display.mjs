// The desktop app's end of our socket. Argument: the socket's path. Each update is one
// line: its job, when it had been received, in ns since boot, and its files.
import { createConnection } from "node:net";

const [path] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const socket = createConnection(path).setEncoding("utf8");
let calls = 0;
const call = (method, params) =>
  socket.write(`${JSON.stringify({ jsonrpc: "2.0", id: ++calls, method, params })}\n`);

function take({ method, params, id, error }) {
  if (error) throw new Error(error.message);
  if (id === 2) say({ ready: true });
  if (method !== "display.update") return;
  const at = Number(process.hrtime.bigint());
  const { jobId, asset } = params.payload;
  say({ job: jobId, at, files: asset.filePaths ?? [asset.filePath] });
  call("display.ack", { consumer: "bench", seq: params.seq });
}

let rest = "";
socket.on("data", (chunk) => {
  const lines = (rest + chunk).split("\n");
  rest = lines.pop();
  for (const line of lines) take(JSON.parse(line));
});
call("hello", { client: "bench", protocol: 1 });
call("display.subscribe", { consumer: "bench" });
