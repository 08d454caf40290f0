"""A small Hugging Face Hub on this machine: what save and load ask of the real one.

The paths and answers are those that huggingface_hub's sources and the documentation of
the Hub's API and of git-lfs name.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_secretsecretsecretsecretsecretsecr"


class Repositories:
    """Commits by repository and branch; each is a dict from names to bytes."""

    def __init__(self):
        self.commits = {}  # (repository, commit) -> files
        self.branches = {}  # (repository, branch) -> commit
        self.messages = []
        self.objects = {}  # of LFS
        self.asked = []
        self.fails_at = None

    def add(self, repo, files, branch="main", message="by hand"):
        """A commit with these files, the newest of the branch."""
        text = json.dumps([repo, len(self.commits), message]).encode()
        commit = hashlib.sha1(text).hexdigest()
        self.commits[repo, commit] = dict(files)
        self.branches[repo, branch] = commit
        self.messages.append((repo, branch, message))
        return commit

    def files(self, repo, revision="main"):
        return self.commits[repo, self.commit(repo, revision)]

    def commit(self, repo, revision):
        return self.branches.get((repo, revision), revision)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Tests need no log."""

    @property
    def hub(self):
        return self.server.repositories

    def do_GET(self):
        self.hub.asked.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self.describe(found[1], found[2] or "main")
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.send_file(*found.groups())
        return self.refuse(404, "EntryNotFound", "no such path")

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self):
        content = self.body()
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != oid:
            return self.refuse(400, "", "other content than announced")
        self.hub.objects[oid] = content
        return self.answer({})

    def do_POST(self):
        content = self.body()
        self.hub.asked.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            sent = self.headers.get("Authorization")
            # As careless servers do, it repeats what was sent.
            return self.refuse(401, "", f"Invalid credentials: {sent}")
        if self.hub.fails_at and self.hub.fails_at in path:
            return self.refuse(500, "", "out of order")
        if path == "/api/repos/create":
            return self.create(json.loads(content))
        if path == "/api/validate-yaml":
            text = json.loads(content)["content"]
            head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
            assert yaml.safe_load(head[1])["library_name"] == "keras_multvae"
            return self.answer({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            return self.batch(json.loads(content))
        what = r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/([^/]+)"
        if found := re.fullmatch(what, path):
            if (found[1], "main") not in self.hub.branches:
                return self.refuse(404, "RepoNotFound", "no such repository")
            return getattr(self, found[2])(found[1], found[3], content)
        return self.refuse(404, "EntryNotFound", "no such path")

    def create(self, wanted):
        owner = wanted.get("organization") or "user"
        repo = f"{owner}/{wanted['name']}"
        url = f"{self.server.url}/{repo}"
        if (repo, "main") in self.hub.branches:
            return self.answer({"error": "You already created this", "url": url}, 409)
        self.hub.add(repo, {".gitattributes": b"*.keras filter=lfs\n"}, message="first")
        return self.answer({"url": url, "name": repo, "id": repo})

    def branch(self, repo, branch, content):
        if (repo, branch) in self.hub.branches:
            return self.answer({"error": "Reference already exists"}, 409)
        self.hub.branches[repo, branch] = self.hub.branches[repo, "main"]
        return self.answer({})

    def preupload(self, repo, branch, content):
        modes = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if is_large(each["path"]) else "regular",
                "shouldIgnore": False,
            }
            for each in json.loads(content)["files"]
        ]
        return self.answer({"files": modes})

    def batch(self, wanted):
        objects = [
            {
                **each,
                "actions": {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}},
            }
            for each in wanted["objects"]
        ]
        return self.answer({"transfer": "basic", "objects": objects})

    def commit(self, repo, branch, content):
        header, *operations = map(json.loads, content.splitlines())
        parent = header["value"].get("parentCommit")
        if parent not in (None, self.hub.branches[repo, branch]):
            return self.refuse(412, "", "the branch has moved on")
        files = dict(self.hub.files(repo, branch))
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                assert operation["key"] == "deletedFile", operation
                del files[value["path"]]
        oid = self.hub.add(repo, files, branch, header["value"]["summary"])
        url = f"{self.server.url}/{repo}/commit/{oid}"
        return self.answer({"commitUrl": url, "commitOid": oid})

    def describe(self, repo, revision):
        commit = self.hub.commit(repo, revision)
        if (repo, "main") not in self.hub.branches:
            return self.refuse(404, "RepoNotFound", "no such repository")
        if (repo, commit) not in self.hub.commits:
            return self.refuse(404, "RevisionNotFound", "no such revision")
        names = sorted(self.hub.commits[repo, commit])
        siblings = [{"rfilename": name} for name in names]
        return self.answer({"id": repo, "sha": commit, "siblings": siblings})

    def send_file(self, repo, revision, name):
        commit = self.hub.commit(repo, revision)
        if (repo, commit) not in self.hub.commits:
            kind = "Revision" if (repo, "main") in self.hub.branches else "Repo"
            return self.refuse(404, f"{kind}NotFound", "not there")
        content = self.hub.commits[repo, commit].get(name)
        if content is None:
            return self.refuse(404, "EntryNotFound", f"no {name}", commit)
        etag = hashlib.sha256(content).hexdigest()
        return self.reply(200, content, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, content, status=200):
        self.reply(
            status, json.dumps(content).encode(), {"Content-Type": "application/json"}
        )

    def refuse(self, status, code, text, commit=None):
        headers = {"X-Error-Code": code, "X-Error-Message": text}
        if commit is not None:
            headers["X-Repo-Commit"] = commit
        self.reply(status, json.dumps({"error": text}).encode(), headers)

    def reply(self, status, content, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def is_large(name):
    return name.endswith((".keras", ".npz", ".npy"))


@contextmanager
def serving():
    """A Hub, with its `url` and `repositories`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    server.repositories = Repositories()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
