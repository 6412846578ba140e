"""An HTTPS server over a folder: PUT writes a file, GET reads one, DELETE removes a file or an empty folder. Prints its port, then one line for each request that came through the handshake.

usage: tls_server.py FOLDER CERT KEY [CLIENT_CA]
With CLIENT_CA only clients with a certificate of that authority come through.
"""

import http.server
import pathlib
import ssl
import sys

folder = pathlib.Path(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def path_below(self):
        return folder / pathlib.PurePosixPath(self.path).name

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.path_below().write_bytes(body)
        self.answer(201, b"stored\n")

    def do_GET(self):
        path = self.path_below()
        self.answer(200, path.read_bytes()) if path.exists() else self.answer(404, b"none\n")

    def do_DELETE(self):
        path = self.path_below()
        try:
            path.rmdir() if path.is_dir() else path.unlink()
        except OSError as error:
            self.answer(409, f"{error}\n".encode())
        else:
            self.answer(200, b"gone\n")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        print("request", self.command, self.path, flush=True)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
if len(sys.argv) > 4:
    context.load_verify_locations(sys.argv[4])
    context.verify_mode = ssl.CERT_REQUIRED
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
