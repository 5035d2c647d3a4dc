//! replaced at merge

/// replaced at merge
#[derive(Debug, clap::Args)]
pub struct Args {}

/// replaced at merge
pub fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("not here yet")
}
