//! The `paddock` executable: one command for each part, and `run` for all of them on one machine.
#![expect(clippy::doc_markdown, reason = "doc comments here are the text of --help, which shows no markdown")]

mod commands;
mod config;
mod failure;
mod known_password;
mod logging;
mod output;
mod password;
mod probes;
mod remote;
mod server;
mod settings;
mod signals;
mod table;
mod traces;
mod variables;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Users, keys and audit for Ollama.
///
/// Paddock stands in front of Ollama and gives it users, roles, API keys and a tamper-evident audit log, as a gateway that
/// any Ollama or OpenAI client can use, and as a Kubernetes operator.
///
/// Begin with `paddock run`: it needs no set-up.
#[derive(Parser)]
#[command(name = "paddock", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Every flag can be given as the environment variable shown beside it, and every secret in a file \
                        named by <VARIABLE>_FILE.\nExit codes: 0 done, 1 failed, 2 wrong configuration. An empty variable counts as unset."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine: database, first admin, API and gateway, with --operator the operator too
    Run(commands::run::Run),
    /// Serve the API and the gateway
    Api(commands::api::Api),
    /// Run the Kubernetes operator
    Operator(commands::operator::Operator),
    /// Bring the database to this executable's schema
    Migrate(commands::migrate::Migrate),
    /// Make sure that there is an admin, and print what was made, once
    Seed(commands::seed::Seed),
    /// Print the CustomResourceDefinitions, for `kubectl apply -f -`
    Crds,
    /// Print the OpenAPI 3.1 document
    Openapi,
    /// Print the effective configuration, secrets redacted, with where each value comes from
    Config(commands::config::Config),
    /// Work with users, through a running server or, to get back in, on the database
    User(commands::user::User),
    /// Work with API keys, through a running server
    Key(commands::key::Key),
    /// Show what was used, through a running server
    Usage(commands::usage::Usage),
    /// Work with the audit log
    Audit(commands::audit::Audit),
    /// Ask a server on this machine whether it is well: for container health checks
    Healthcheck(commands::healthcheck::Healthcheck),
}

fn main() -> ExitCode {
    match command_line().and_then(|(cli, matches)| dispatch(cli.command, &matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            #[expect(clippy::print_stderr, reason = "the last word of a command")]
            {
                eprintln!("paddock: {failure}");
            }
            failure.code()
        }
    }
}

fn command_line() -> Result<(Cli, clap::ArgMatches), Failure> {
    let matches = variables::matches(Cli::command())?;
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok((cli, matches)),
        Err(error) => error.exit(),
    }
}

fn dispatch(command: Command, matches: &clap::ArgMatches) -> Result<(), Failure> {
    match command {
        Command::Crds => commands::print(&paddock_crds::yaml()),
        Command::Openapi => {
            let document = serde_json::to_string_pretty(&paddock_api::openapi()).map_err(anyhow::Error::from)?;
            commands::print(&(document + "\n"))
        }
        Command::Config(command) => command.execute(matches.subcommand_matches("config")),
        Command::Run(command) => block_on(command.execute()),
        Command::Api(command) => block_on(command.execute()),
        Command::Operator(command) => block_on(command.execute()),
        Command::Migrate(command) => block_on(command.execute()),
        Command::Seed(command) => block_on(command.execute()),
        Command::User(command) => block_on(command.execute()),
        Command::Key(command) => block_on(command.execute()),
        Command::Usage(command) => block_on(command.execute()),
        Command::Audit(command) => block_on(command.execute()),
        Command::Healthcheck(command) => block_on(command.execute()),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let done = work.await;
        traces::flush().await;
        done
    });
    // A blocked thread, as one that hashes, does not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    done
}
