#!/usr/bin/env node
// A worker in Node.js: it asks for calls of the action `greet` over HTTP, with no library. docs/reference/http.md tells of each request.
//   PERDURE_API=http://127.0.0.1:8700 PERDURE_TOKEN=perdure_… node examples/worker.mjs
import { hostname } from "node:os";
import { setTimeout as pause } from "node:timers/promises";

const api = `${process.env.PERDURE_API ?? "http://127.0.0.1:8700"}/v1`;
const token = process.env.PERDURE_TOKEN;
const worker = `node-${hostname()}-${process.pid}`;

async function ask(method, path, body) {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  const answer = await fetch(`${api}/${path}`, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(40_000) });
  const text = await answer.text();
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}: ${text}`), { status: answer.status });
  return text ? JSON.parse(text) : null;
}

const actions = {
  async greet(name) {
    if (!name) throw new Error("whom?");
    return { text: `Hello, ${name}, from Node.js` };
  },
};

async function perform(call) {
  const path = `calls/${encodeURIComponent(call.id)}`;
  const own = { worker, token: call.token };
  // Heartbeats go on beside the work; whoever is silent for a lease loses the call to another.
  const heartbeats = setInterval(() => ask("POST", `${path}/heartbeat`, own).catch(() => {}), 3_000);
  let said;
  try {
    said = { status: "data", value: (await actions[call.action](...(call.args ?? []))) ?? null };
  } catch (error) {
    said = { status: "error", error: { type: error.name, message: error.message } };
  } finally {
    clearInterval(heartbeats);
  }
  // The same outcome may be sent again until it is taken: the first one stands.
  for (let wait = 100; ; wait = Math.min(2 * wait, 5_000)) {
    try {
      await ask("POST", `${path}/complete`, { ...own, ...said });
      return console.log(`${call.action}: ${said.status}`);
    } catch (error) {
      if (error.status < 500 && error.status !== 429) return console.error(error.message);
      await pause(wait);
    }
  }
}

const announced = Object.keys(actions).map((name) => ({ name }));
await ask("POST", "workers", {
  type: "announce", v: 1, worker, language: "node", started_ms: Date.now(), interval_ms: 5_000, slots: 4, actions: announced,
});
console.log(`worker ${worker} asks ${api} for calls of ${Object.keys(actions)}`);
process.once("SIGTERM", () => ask("DELETE", `workers/${worker}`).finally(() => process.exit(0)));
for (;;) {
  const taken = await ask("POST", "calls/take", { worker, limit: 4, wait_ms: 10_000 }).catch((error) => console.error(error.message));
  if (taken) await Promise.all(taken.calls.map(perform));
  else await pause(1_000);
}
