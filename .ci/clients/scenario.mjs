// What every client in JavaScript goes through, in Node and in a browser. The
// test serves /config, takes reports of what the client sees, and does what
// they ask for: see TestClientsInJavaScript.

const size = 12_000;

// connect opens a WebSocket and gives what a client makes of it: requests,
// pushes in their order, and how it was closed.
function connect(WebSocket, url) {
  const ws = new WebSocket(url, ["belfry.v1.json"]);
  const requests = new Map();
  const pushes = [];
  let lastID = 0;
  let arrived = () => {};
  const opened = new Promise((resolve, reject) => {
    ws.onopen = resolve;
    ws.onerror = (e) => reject(new Error(`error event: ${e.message ?? e.type}`));
  });
  opened.catch(() => {}); // an error after the opening is followed by a close
  const closed = new Promise((resolve) => {
    ws.onclose = (e) => resolve(`closed ${e.code} ${e.reason}`);
  });
  ws.onmessage = (e) => {
    const frame = JSON.parse(e.data);
    if (frame.id === undefined) {
      pushes.push(frame);
      arrived();
      return;
    }
    requests.get(frame.id)(frame);
    requests.delete(frame.id);
  };
  const send = (frame) => ws.send(JSON.stringify(frame));
  return {
    opened,
    closed,
    send,
    sendText: (text) => ws.send(text),
    request: (op, args) =>
      new Promise((resolve) => {
        requests.set(++lastID, resolve);
        send({ id: lastID, op, args });
      }),
    push: async (op) => {
      for (;;) {
        const i = pushes.findIndex((p) => p.op === op);
        if (i >= 0) return pushes.splice(i, 1)[0].args;
        await new Promise((resolve) => (arrived = resolve));
      }
    },
  };
}

export async function scenario(WebSocket, base) {
  const report = async (event) => {
    await fetch(`${base}/report`, { method: "POST", body: event });
  };
  try {
    const config = await (await fetch(`${base}/config`)).json();
    const login = async (token) => {
      const c = connect(WebSocket, config.url);
      await c.opened;
      c.login = await c.request("login", { token, device: "real" });
      return c;
    };

    const first = await login(config.token);
    await report(`login ${first.login.ok.user}`);
    const sent = await first.request("send", {
      conv: `u:${config.peer}`, cid: "1", body: { text: "x".repeat(size) },
    });
    await report(`sent ${sent.ok.seq}`);
    for (;;) {
      const { d, messages } = await first.push("onNewMessage");
      first.send({ op: "ack", args: { d } });
      const m = messages.find((m) => m.from === config.peer);
      if (m === undefined) continue;
      await report(`received ${m.body.text.length} ${m.body.text === "y".repeat(size)}`);
      break;
    }

    const refused = await login("no token");
    await report(`${refused.login.err.code}, ${await refused.closed}`);

    await report("kick me");
    await report(await first.closed);

    const large = await login(config.token);
    large.sendText(" ".repeat(large.login.ok.limits.maxFrame + 1));
    await report(await large.closed);

    const last = await login(config.token);
    await report("stop the server");
    await report(await last.closed);
  } catch (e) {
    await report(`failed: ${e.stack ?? e}`);
  }
}
