//! Small apps for tests: a definition and a Python program that can misbehave on request.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

/// A folder with a `freehold.toml` and the program that it starts.
pub struct App {
    directory: TempDir,
}

/// Answers `/health/ready`, `/version` (the text of the file `version`), `/env/NAME`, `/env/PID` (its own), and anything else with its version.
const PROGRAM: &str = r#"
import http.server, os, signal, sys, threading, time

fault = os.environ.get("FAULT", "")
version = open("version").read().strip()
if fault == "exit":
    print("cannot start: the moon is full", flush=True)
    sys.exit(3)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status, body = 200, version
        if self.path == "/health/ready" and fault == "never-ready":
            status, body = 503, "not ready"
        elif self.path == "/env/PID":
            body = str(os.getpid())
        elif self.path.startswith("/env/"):
            body = os.environ.get(self.path[5:], "(unset)")
        elif self.path == "/environment":
            body = "\n".join(sorted(os.environ))
        elif self.path.startswith("/sleep/"):
            time.sleep(float(self.path[7:]))
        elif self.path == "/crash":
            os._exit(9)
        data = body.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.daemon_threads = False
if fault == "falls":
    threading.Timer(0.5, lambda: os._exit(7)).start()
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("serving version", version, flush=True)
server.serve_forever()
"#;

/// One service and one route; `{extra}` comes behind it.
const DEFINITION: &str = r#"[app]
name = "probe"

[service.web]
build   = { artifact = ["program.py", "version"] }
command = ["python3", "program.py"]
port    = 8080
health  = { ready = "/health/ready" }
settle  = "0s"

[route.web]
service = "web"
hosts   = ["${stack.name}.${target.domain}"]
"#;

impl App {
    /// The small app, at version `1`.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn small() -> Result<Self> {
        Self::with(DEFINITION)
    }

    /// The small app with something more in its definition.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn small_and(extra: &str) -> Result<Self> {
        Self::with(&format!("{DEFINITION}\n{extra}"))
    }

    /// The program of the small app with this definition.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn with(definition: &str) -> Result<Self> {
        let app = Self { directory: tempfile::tempdir()? };
        app.define(definition)?;
        fs::write(app.path().join("program.py"), PROGRAM)?;
        app.version("1")?;
        Ok(app)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Its folder, as an argument.
    pub fn argument(&self) -> String {
        self.path().display().to_string()
    }

    /// The definition's file.
    pub fn definition(&self) -> PathBuf {
        self.path().join("freehold.toml")
    }

    /// Writes another definition.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn define(&self, definition: &str) -> Result<()> {
        Ok(fs::write(self.definition(), definition)?)
    }

    /// Replaces a piece of the definition.
    ///
    /// # Errors
    /// The piece isn't there.
    pub fn redefine(&self, from: &str, to: &str) -> Result<()> {
        let text = fs::read_to_string(self.definition())?;
        anyhow::ensure!(text.contains(from), "the definition has no {from:?}");
        self.define(&text.replace(from, to))
    }

    /// Makes it another version.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn version(&self, version: &str) -> Result<()> {
        Ok(fs::write(self.path().join("version"), version)?)
    }
}
