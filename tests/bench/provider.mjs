// A GitHub whose users are as many as wanted, and Google's keys, over TLS on the loopback.
//
//   node provider.mjs PORT CHAIN KEY JWKS
//
// Paths begin with a delay in milliseconds: /50/token, /50/user, /50/user/emails. The code
// "c17" belongs to user 17; its access token is "gho_17".
import fs from "node:fs";
import https from "node:https";

const [port, chain, key, jwksFile] = process.argv.slice(2);
const jwks = fs.readFileSync(jwksFile);

function user(id) {
  return { login: `hub${id}`, id, node_id: `MDQ6VXNlcj${id}`, type: "User", site_admin: false,
           name: "Ada Lovelace", company: null, blog: "", location: null, email: null, bio: null,
           public_repos: 8, followers: 20, following: 0, created_at: "2008-01-14T04:33:35Z" };
}

function emails(id) {
  return [{ email: `hub${id}@example.net`, primary: true, verified: true, visibility: "private" }];
}

function send(response, body, type = "application/json; charset=utf-8") {
  response.writeHead(200, { "Content-Type": type, "Content-Length": Buffer.byteLength(body),
                            "Cache-Control": "public, max-age=3600" });
  response.end(body);
}

function answer(request, response, path, body) {
  if (path === "/token") {
    const id = /(?:^|&)code=c(\d+)/.exec(body)?.[1];
    return id ? send(response, JSON.stringify({ access_token: `gho_${id}`, token_type: "bearer",
                                                scope: "read:user,user:email" }))
              : send(response, JSON.stringify({ error: "bad_verification_code" }));
  }
  const id = Number(/^Bearer gho_(\d+)$/.exec(request.headers.authorization ?? "")?.[1]);
  if (!id || (path !== "/user" && path !== "/user/emails")) {
    response.writeHead(404, { "Content-Length": 0 });
    return response.end();
  }
  return send(response, JSON.stringify(path === "/user" ? user(id) : emails(id)));
}

const server = https.createServer({ cert: fs.readFileSync(chain), key: fs.readFileSync(key) },
  (request, response) => {
    let body = "";
    request.on("data", (part) => { body += part; });
    request.on("end", () => {
      if (request.url === "/jwks") {
        return send(response, jwks);
      }
      const [, delay, path] = /^\/(\d+)(\/.*)$/.exec(request.url) ?? [null, "0", "/"];
      return Number(delay) ? setTimeout(answer, Number(delay), request, response, path, body)
                           : answer(request, response, path, body);
    });
  });
server.keepAliveTimeout = 120000;
server.on("connection", (socket) => socket.setNoDelay(true));
server.listen(Number(port), "127.0.0.1", () => console.log("ready"));
