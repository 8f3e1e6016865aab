"""A server of files on this machine, for tests of downloads."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files`, content by path, with ranges. It may not know ranges, or break off after some bytes."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []  # what was asked for
        self.knows_ranges, self.breaks_after = True, None


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 - its name there
        server, wanted = self.server, self.headers.get("Range")
        server.ranges.append(wanted)
        if self.path not in server.files:
            self.send_error(404)
            return
        content = server.files[self.path]
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.knows_ranges else 0
        beyond = 0 < len(content) <= first
        self.send_response(416 if beyond else 206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {'*' if beyond else f'{first}-{len(content) - 1}'}/{len(content)}")
        self.send_header("Content-Length", str(len(content[first:])))
        self.end_headers()
        self.wfile.write(content[first:][: server.breaks_after])

    def log_message(self, *_):
        pass
