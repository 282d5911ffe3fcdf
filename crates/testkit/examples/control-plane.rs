//! Runs a control plane in the foreground: `scripts/kubernetes up`. Prints a line for a shell, and ends with its standard
//! input or by Ctrl-C; nothing is left behind either way.

use std::io::Read;

use freehold_testkit::kubernetes::ControlPlane;

#[expect(clippy::print_stdout, reason = "it is what a person, or scripts/test, reads")]
fn main() -> anyhow::Result<()> {
    let cluster = ControlPlane::start()?;
    println!("export KUBECONFIG={}", cluster.kubeconfig_path().display());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
