"""Where a provider sends people: its page asks nothing and agrees at once, on another site than ours."""
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LURE = """<!DOCTYPE html><title>lure</title><script>
const state = new URLSearchParams(location.search).get("state");
opener.postMessage({state, code: "stolen", id_token: "stolen"}, "*");
setTimeout(close, 500);
</script>"""


class Dialogs:
    """who: the account that agrees, as the fake provider made it; answer: "agree", "refuse",
    "cancel" (without a word why), "lure" (a message instead of a redirect)."""

    def __init__(self, provider):
        self._provider = provider
        self.answer, self.who = "agree", {}
        self.asked, self.paths = [], []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def found(self, name, query):
        """What comes back from this provider, for its response_type."""
        if self.answer == "refuse":
            return {"error": "access_denied", "error_description": "Not today."}
        if self.answer == "cancel":
            return {"error": "access_denied"}
        kind, part = query["response_type"], getattr(self._provider, name)
        if kind == "code":
            return {"code": part.code(self.who[name], query.get("code_challenge"),
                                      query["redirect_uri"])}
        if kind == "id_token":
            return {"id_token": part.id_token(dict(self.who[name], nonce=query["nonce"]))}
        if name == "google":
            return {"access_token": part.access_token(**self.who[name])}
        return {"access_token": part.token(self.who[name])}

    def _handler(dialogs):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                dialogs.asked.append(self.headers)
                dialogs.paths.append(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                if "redirect_uri" not in query:
                    self.page("{}", "application/json")
                elif dialogs.answer == "lure":
                    self.page(LURE, "text/html")
                else:
                    found = dialogs.found(url.path.strip("/"), query)
                    mark = "?" if query["response_type"] == "code" else "#"
                    self.send_response(302)
                    self.send_header("Location", query["redirect_uri"] + mark + urllib.parse.urlencode(
                        dict(found, state=query["state"])))
                    self.end_headers()

            def do_OPTIONS(self):
                self.page("", "text/plain")

            def page(self, text, kind):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.send_header("Access-Control-Allow-Headers", "Authorization")
                self.end_headers()
                self.wfile.write(text.encode())

        return Handler
