//! What a platform says of itself once it is ready.

use crate::layout::{BOLD, DIM, GREEN, count, paint, seconds};
use crate::terminal::Terminal;

/// What there is to know about a platform that is ready.
pub(super) struct ReadyPlatform {
    pub api_url: String,
    pub router_port: u16,
    pub postgres: String,
    pub stacks: usize,
    pub milliseconds: u64,
    pub pid: u32,
    pub data: String,
    pub domain: String,
    pub foreground: bool,
}

impl ReadyPlatform {
    pub(super) fn print(&self, terminal: Terminal) {
        if terminal.json {
            return terminal.print_json(&serde_json::json!({
                "state": "ready",
                "api_url": self.api_url,
                "router_port": self.router_port,
                "postgres": self.postgres,
                "stacks": self.stacks,
                "milliseconds": self.milliseconds,
                "pid": self.pid,
                "data_directory": self.data,
            }));
        }
        terminal.print(self.text());
    }

    fn text(&self) -> String {
        let head = format!("Freehold is ready in {}", seconds(self.milliseconds));
        let end = match self.foreground {
            true => "Ctrl-C stops it. Meanwhile, elsewhere: `freehold deploy DIR --tenant NAME`",
            false => "`freehold down` stops it. Next: `freehold deploy DIR --tenant NAME`",
        };
        let rows = [
            ("stacks", format!("http://NAME.{}:{}", self.domain, self.router_port)),
            ("API", format!("{}   (token in server.json)", self.api_url)),
            ("database", self.postgres.clone()),
            ("data", self.data.clone()),
        ];
        let mut lines = vec![format!("{} · {}", paint(GREEN.bold(), head), count(self.stacks, "stack"))];
        lines.extend(rows.iter().map(|(name, value)| format!("  {}{value}", paint(BOLD, format!("{name:<11}")))));
        lines.push(paint(DIM, end));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_that_is_ready_says_where_it_is_and_how_to_stop_it() {
        let ready = ReadyPlatform {
            api_url: "http://127.0.0.1:7081".to_owned(),
            router_port: 7080,
            postgres: "PostgreSQL 15.18, private, port 54329".to_owned(),
            stacks: 1,
            milliseconds: 1234,
            pid: 1,
            data: "/var/lib/freehold".to_owned(),
            domain: "localhost".to_owned(),
            foreground: true,
        };
        let text = ready.text();
        insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string(), @r"
        Freehold is ready in 1.2 s · 1 stack
          stacks     http://NAME.localhost:7080
          API        http://127.0.0.1:7081   (token in server.json)
          database   PostgreSQL 15.18, private, port 54329
          data       /var/lib/freehold
        Ctrl-C stops it. Meanwhile, elsewhere: `freehold deploy DIR --tenant NAME`
        ");
    }
}
