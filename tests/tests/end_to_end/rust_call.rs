//! The Rust call: the same operation as the command line.

use anyhow::Result;
use freehold::{Client, Definition, Tenant};
use freehold_end_to_end::{App, Installation};

#[test]
fn the_rust_call_deploys_what_the_command_line_deploys() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[tier.pro]\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme", "--tier", "pro"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect_to(&freehold.data())?;
        // Another tenant of the same app: definition and artifacts are the ones that the platform knows.
        let deployed = client.deploy(Tenant::new("globex").tier("pro")).await?;
        assert_eq!(deployed.revision, 1);
        let url = deployed.outputs["routes"]["web"]["url"].as_str().unwrap_or_default().to_owned();
        assert!(url.starts_with("http://globex.localhost:"), "{url}");
        // Again, now with the definition: nothing changes.
        let again = client.deploy(Tenant::new("globex").definition(Definition::read(app.path())?)).await?;
        assert_eq!(again.revision, 1);
        let refused = client.deploy(Tenant::new("globex").tier("gold")).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("FH1002")));
        anyhow::Ok(())
    })?;
    assert_eq!(freehold.get("globex.localhost", "/")?, (200, "1".to_owned()));
    Ok(())
}
