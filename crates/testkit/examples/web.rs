//! A small web service to put into Pods. It answers every path with `$GREETING` (or "hello"), `/health` with 200, or 503
//! while `$UNHEALTHY` is set, `/slow/MS` after so many milliseconds; it logs a line for each request, ends politely when
//! told to, and at once, with a line on standard error, where `$CRASH` is set.

use std::env;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

#[expect(clippy::print_stderr, reason = "it is a program, and these are its last words")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let Ok(words) = env::var("CRASH") {
        eprintln!("fatal: {words}");
        anyhow::bail!("told to crash");
    }
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    // As the first process of its container it would not end by a signal that it doesn't handle.
    let mut end = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            client = listener.accept() => {
                tokio::spawn(serve(client?.0));
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is a program that logs")]
async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut header = String::new();
        while stream.read_line(&mut header).await? > 2 {
            header.clear();
        }
        if let Some(pause) = path.strip_prefix("/slow/").and_then(|pause| pause.parse().ok()) {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let status = if path == "/health" && env::var_os("UNHEALTHY").is_some() { "503 Unavailable" } else { "200 OK" };
        let body = env::var("GREETING").unwrap_or_else(|_| "hello".to_owned());
        println!("{path} {status}");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}
