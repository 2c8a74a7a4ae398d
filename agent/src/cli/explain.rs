//! `weir explain`

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::anyhow;

use super::{admin_client, output::Output};
use crate::{
    settings,
    sources::validate,
    traffic::{
        explain::{self, Question},
        form,
    },
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The client: NAMESPACE/POD, or NAMESPACE for any captured pod of it
    #[arg(long, value_name = "POD")]
    from: String,

    /// What it asks for: http://web.shop/cart; https:// and tcp://HOST:PORT for connections
    #[arg(long, value_name = "URL")]
    to: String,

    /// The method [default: GET]
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,

    /// A header of the request, as often as there are headers
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The admin address of the agent to ask
    #[arg(long, value_name = "ADDR", default_value = admin_client::ADMIN_ADDR, conflicts_with = "config")]
    admin: SocketAddr,

    /// A folder of manifests, instead of a running agent
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,

    /// With --config: the trust domain of the identities
    #[arg(long, value_name = "NAME", default_value = "cluster.local", value_parser = settings::trust_domain, requires = "config")]
    trust_domain: String,

    /// How it is told
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// 0 whatever becomes of the request; 1 where that cannot be told.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let told = match &args.config {
        Some(dir) => of_folder(args, dir)?,
        None => admin_client::block_on(of_agent(args))?,
    };
    io::stdout().write_all(&told)?;
    Ok(ExitCode::SUCCESS)
}

fn of_folder(args: &Args, dir: &Path) -> anyhow::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let question = Question::new(
        &args.from,
        &args.to,
        args.method.as_deref(),
        &args.headers,
        now.map_or(0, |since| since.as_secs()),
    )?;
    let (snapshot, problems) = validate::snapshot(dir, &args.trust_domain)
        .map_err(|error| anyhow!("cannot read the folder {}: {error}", dir.display()))?;
    if !problems.is_empty() {
        eprintln!(
            "weir: what is wrong with the folder is left out, as an agent would; {} problems:",
            problems.len()
        );
        for problem in &problems {
            eprintln!("weir: {problem}");
        }
    }
    let explanation = explain::explain(&snapshot, &question);
    Ok(match args.output {
        Output::Text => explanation.to_string().into_bytes(),
        Output::Json => {
            let mut json = serde_json::to_vec_pretty(&explanation)?;
            json.push(b'\n');
            json
        }
    })
}

async fn of_agent(args: &Args) -> anyhow::Result<Vec<u8>> {
    let output = args.output.as_str();
    let mut pairs = vec![
        ("from", args.from.as_str()),
        ("to", args.to.as_str()),
        ("output", output),
    ];
    pairs.extend(args.method.as_deref().map(|method| ("method", method)));
    pairs.extend(args.headers.iter().map(|line| ("header", line.as_str())));
    let target = format!("/debug/explain?{}", form::encode(pairs));
    admin_client::fetch(args.admin, &target).await
}
