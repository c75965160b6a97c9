"""An application behind a gateway: origin.py PORT_FILE answers every request with 200, and each GET /count with how many it had."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

served = 0


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        global served
        body = b"hello\n"
        if self.path == "/count":
            body = str(served).encode()
        else:
            served += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
    file.write(str(server.server_port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
