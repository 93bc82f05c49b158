"""Chromium without a screen, what it prints of a document, and the pixels of the pictures it takes.

It knows no page: it opens the console of a node, and reaches no address but that one.
"""

import html.parser
import os
import shutil
import struct
import subprocess
import zlib

import holon_node

PROGRAMS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
LIMIT_S = 60
VOID = {"meta", "link", "br", "input", "img", "hr"}


def program():
    """The first one that is installed, or None."""
    return next((found for found in map(shutil.which, PROGRAMS) if found), None)


class Element:
    def __init__(self, name, attributes, parent):
        self.name, self.attributes, self.parent = name, dict(attributes), parent
        self.parts = []  # elements and texts, in order

    def all(self, name=None, **wanted):
        """Every element below it of this name, class and attributes, in order."""
        found = []
        for child in self.parts:
            if isinstance(child, str):
                continue
            classes = (child.attributes.get("class") or "").split()
            fits = all(value in classes if key == "cls" else child.attributes.get(key.replace("_", "-")) == value
                       for key, value in wanted.items())
            if fits and name in (None, child.name):
                found.append(child)
            found += child.all(name, **wanted)
        return found

    def text(self):
        return " ".join(part if isinstance(part, str) else part.text() for part in self.parts)


class Document(html.parser.HTMLParser):
    """What a browser printed of its document: well nested, since a browser wrote it."""

    def __init__(self, text):
        super().__init__()
        self.root = self.at = Element("document", [], None)
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        made = Element(tag, attrs, self.at)
        self.at.parts.append(made)
        if tag not in VOID:
            self.at = made

    def handle_endtag(self, tag):
        at = self.at
        while at is not None and at.name != tag:
            at = at.parent
        if at is not None and at.parent is not None:
            self.at = at.parent

    def handle_data(self, data):
        if data.strip():
            self.at.parts.append(data.strip())


class Browser:
    def __init__(self, folder):
        self.folder = folder
        self.program = program()
        assert self.program, f"none of {', '.join(PROGRAMS)} is installed; apt-get install chromium"

    def run(self, node, *arguments, seconds=4):
        profile = self.folder / "profile"
        words = [self.program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync",
                 f"--user-data-dir={profile}", "--window-size=1280,1200", f"--virtual-time-budget={seconds * 1000}",
                 f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {node.address}", *arguments,
                 f"http://{node.address}:{holon_node.CONSOLE_PORT}/"]
        done = subprocess.run(words, capture_output=True, timeout=LIMIT_S, check=False,
                              env={**os.environ, "HOME": str(self.folder)})
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        return done.stdout.decode()

    def document(self, node, seconds=4):
        text = self.run(node, "--dump-dom", seconds=seconds)
        return Document(text).root

    def picture(self, node, name="page.png", seconds=4):
        path = self.folder / name
        self.run(node, f"--screenshot={path}", seconds=seconds)
        return path.read_bytes()


def pixels(png):
    """(width, height, rows of bytes, bytes a pixel) of a PNG with 8 bits a channel; checks every checksum on the way."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, header = 8, b"", None
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", png[at + 8 + length:at + 12 + length])[0], kind
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    width, height, depth, colour, _, _, interlace = header
    assert depth == 8 and colour in (2, 6) and interlace == 0, header
    size = 3 if colour == 2 else 4
    raw, stride, rows, above = zlib.decompress(packed), width * size, [], bytearray(width * size)
    for y in range(height):
        how, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride if how else 0):
            left, up = line[x - size] if x >= size else 0, above[x]
            if how == 1:
                line[x] = line[x] + left & 255
            elif how == 2:
                line[x] = line[x] + up & 255
            elif how == 3:
                line[x] = line[x] + (left + up) // 2 & 255
            else:
                corner = above[x - size] if x >= size else 0
                guess = left + up - corner
                near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
                line[x] = line[x] + near & 255
        rows.append(line)
        above = line
    return width, height, rows, size


def colours(png):
    """How often each colour is in every second pixel of every second row."""
    width, _, rows, size = pixels(png)
    counts = {}
    for line in rows[::2]:
        for x in range(0, width * size, 2 * size):
            found = bytes(line[x:x + 3])
            counts[found] = counts.get(found, 0) + 1
    return counts
