"""A headless Chromium inside a place of the lab, driven by chromedriver over the WebDriver protocol.

The protocol is JSON over HTTP; Debian's python3-selenium would bring a dozen packages for it.
"""

import base64
import http.client
import json
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from . import namespaces
from .story import StoryError, wait_for

PROGRAMS = ("chromium", "chromedriver")
PORT = 9515
START_SECONDS = 60
ANSWER_SECONDS = 60
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"
ARGUMENTS = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
             "--no-sandbox"]  # root has no sandbox; it only ever sees the lab


def missing() -> list[str]:
    return [name for name in PROGRAMS if not shutil.which(name)]


class Browser:
    """One tab, from `with` to its end. Commands raise StoryError with what chromedriver says."""

    def __init__(self, hosts, place: str, log: Path):
        self.namespace = hosts.lab.plan.namespace(place)
        self.log = log
        self.session = ""

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory(prefix="understudy-browser-")
        with open(self.log, "w") as out:
            # A session of its own: Chromium's many processes are ended as a group.
            self.driver = subprocess.Popen(
                ["nsenter", f"--net={namespaces.NETNS / self.namespace}", "chromedriver", f"--port={PORT}"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": self.home.name, "TMPDIR": self.home.name})
        try:
            wait_for("chromedriver", lambda: self._ready(), START_SECONDS, 0.1)
            options = {"args": [*ARGUMENTS, f"--user-data-dir={self.home.name}/profile"],
                       "binary": shutil.which("chromium")}
            wanted = {"acceptInsecureCerts": True, "browserName": "chrome", "goog:chromeOptions": options}
            self.session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.session:
                self._ask("DELETE", f"/session/{self.session}")
        except (OSError, http.client.HTTPException, StoryError):
            pass  # ended below
        for pid in self._group():
            namespaces.send(pid, signal.SIGKILL)
        self.driver.wait(20)
        self.home.cleanup()

    def _group(self) -> list[int]:
        """Chromium keeps to chromedriver's session or not; it keeps to its own files."""
        found = [self.driver.pid]
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if self.home.name.encode() in entry.read_bytes():
                    found.append(int(entry.parent.name))
            except OSError:
                pass  # it ended meanwhile
        return found

    def _ready(self) -> bool:
        try:
            return self._ask("GET", "/status")["ready"]
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: dict | None = None):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=ANSWER_SECONDS)
        connection.sock = namespaces.connect(self.namespace, ("127.0.0.1", PORT), ANSWER_SECONDS)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise StoryError(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value

    def command(self, path: str, body: dict):
        return self._ask("POST", f"/session/{self.session}/{path}", body)

    # --- what a person does

    def open(self, url: str):
        self.command("url", {"url": url})

    def script(self, text: str, *arguments):
        """What the function body returns."""
        return self.command("execute/sync", {"script": text, "args": list(arguments)})

    def press(self, *keys: str):
        """Keys on whatever has the focus."""
        strokes = [{"type": kind, "value": key} for word in keys for key in word for kind in ("keyDown", "keyUp")]
        self.command("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def tab_to(self, label: str):
        """By the Tab key alone, as one without a mouse does."""
        for _ in range(60):
            self.press(TAB)
            if self.script("return document.activeElement.ariaLabel ?? document.activeElement.textContent") == label:
                return
        raise StoryError(f"Tab never leads to {label!r}")

    def text(self, selector: str) -> str:
        """Of the first such element; empty if there is none."""
        return self.script("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def wait_text(self, selector: str, part: str, seconds: float) -> str:
        def seen():
            last.append(self.text(selector))
            return last[-1] if part in last[-1] else ""
        last: list[str] = []
        try:
            return wait_for(f"{part!r} in {selector}", seen, seconds, 0.1)
        except StoryError as error:
            raise StoryError(f"{error}; there is {last[-1]!r}") from None

    # --- how it looks

    def device(self, width: int, height: int, scheme: str):
        """A window of that size, in a light or dark scheme."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def cdp(self, command: str, **parameters):
        return self.command("goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, path: Path):
        path.write_bytes(base64.b64decode(self.cdp("Page.captureScreenshot", format="png")["data"]))
