//! Runs a real node with its gateway in the foreground: `scripts/kubernetes node-up`. Prints lines for a shell, and ends
//! with its standard input or by Ctrl-C; nothing is left behind either way.

use std::io::Read;

use freehold_testkit::kubernetes::{HTTP_PORT, Node};

#[expect(clippy::print_stdout, reason = "it is what a person, or scripts/test, reads")]
fn main() -> anyhow::Result<()> {
    let node = Node::start()?;
    println!("export KUBECONFIG={}", node.cluster().kubeconfig_path().display());
    println!("# gateway {}/{}: http://{}:{HTTP_PORT}", Node::GATEWAY_NAMESPACE, Node::GATEWAY, Node::ADDRESS);
    println!("# registry {}", node.registry().address());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
