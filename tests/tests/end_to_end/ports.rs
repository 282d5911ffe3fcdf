//! Services that don't speak HTTP, named ports, and files: deployed, reached, changed, and gone without a trace.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result};
use freehold_end_to_end::{App, Installation, eventually};

/// A server of lines at `PORT`, whose health is asked at another port.
const ECHO: &str = r#"
import http.server, os, socketserver, threading

greeting = open(os.environ["GREETING"]).read().strip()

class Line(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(greeting.encode() + b" " + line)

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthy" else 404)
        self.end_headers()
    def log_message(self, *args):
        pass

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

admin = http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT_ADMIN"])), Health)
threading.Thread(target=admin.serve_forever, daemon=True).start()
Server((os.environ["HOST"], int(os.environ["PORT"])), Line).serve_forever()
"#;

const DEFINITION: &str = r#"
[secret.password]
generate = {}

[service.echo]
build    = { artifact = ["version"] }
command  = ["python3", "/opt/echo/server.py"]
port     = 9000
protocol = "tcp"
health   = { ready = { http = "/healthy", port = "admin" } }
reads    = ["PORT", "PORT_ADMIN", "HOST?", "GREETING"]
drain    = "0s"
settle   = "0s"

[service.echo.ports]
admin = { port = 9001 }

[service.echo.files]
server   = { path = "/opt/echo/server.py", file = "server.py", references = false }
greeting = { path = "/etc/echo/greeting", text = "hello ${stack.name} ${secret.password}" }

[service.echo.env]
GREETING = "/etc/echo/greeting"

[service.web.env]
ECHO     = "${service.echo.host}:${service.echo.port}"
ECHO_URL = "${service.echo.url}"
ADMIN    = "${service.echo.admin.host}:${service.echo.admin.port}"
PASSWORD = "${secret.password}"
"#;

fn variable(freehold: &Installation, name: &str) -> Result<String> {
    Ok(freehold.get("acme.localhost", &format!("/env/{name}"))?.1)
}

/// What is answered to a line.
fn said(address: &str, line: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

/// The status that a path of a port is answered with.
fn status(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")?;
    let mut first = String::new();
    BufReader::new(stream).read_line(&mut first)?;
    first.split(' ').nth(1).map(str::to_owned).context("no status")
}

#[test]
fn a_service_of_another_protocol_is_reached_at_all_its_ports_and_finds_its_files() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and(DEFINITION)?;
    fs::write(app.path().join("server.py"), ECHO)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let (echo, admin) = (variable(&freehold, "ECHO")?, variable(&freehold, "ADMIN")?);
    let password = variable(&freehold, "PASSWORD")?;
    assert_eq!(variable(&freehold, "ECHO_URL")?, format!("tcp://{echo}"));
    assert_eq!(said(&echo, "world")?, format!("hello acme {password} world"));
    assert_eq!((status(&admin, "/healthy")?, status(&admin, "/")?), ("200".to_owned(), "404".to_owned()));
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "unchanged");

    // Killed, Freehold leads to the same process again.
    freehold.kill()?;
    freehold.up()?;
    let again = eventually("the line", || said(&echo, "again").ok().filter(|answer| !answer.is_empty()));
    assert_eq!(again, format!("hello acme {password} again"));

    // A file that changes restarts its program, and no other.
    let pid = variable(&freehold, "PID")?;
    app.redefine("hello ${stack.name}", "welcome ${stack.name}")?;
    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("/etc/echo/greeting") && !plan.stdout.contains(&password), "{}", plan.stdout);
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(said(&echo, "back")?, format!("welcome acme {password} back"));
    assert_eq!(variable(&freehold, "PID")?, pid);

    // It speaks HTTP from now on: the same address is answered by the router.
    app.redefine("protocol = \"tcp\"\n", "")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(status(&echo, "/")?, "502");

    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    assert!(TcpStream::connect(&echo).is_err() && TcpStream::connect(&admin).is_err());
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    assert_eq!(fs::read_dir(freehold.data().join("local/stacks"))?.count(), 0);
    Ok(())
}
