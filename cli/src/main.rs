//! The `paddock` executable: one command per part, and `run` for all parts on one machine.
#![expect(clippy::doc_markdown, reason = "doc comments here are the text of --help, which shows no markdown")]

mod client;
mod commands;
mod config;
mod contexts;
mod dev_password;
mod env;
mod error;
mod listen_address;
mod listener;
mod logging;
mod otlp;
mod output;
mod password;
mod probes;
mod prompt;
mod server;
mod settings;
mod signals;
mod table;
mod value_parsers;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::error::Error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Users, keys and audit for Ollama.
///
/// Paddock is an access proxy in front of Ollama. It adds users, roles, API keys and a
/// tamper-evident audit log. It is a gateway for any Ollama or OpenAI client, and a Kubernetes
/// operator.
///
/// Begin with `paddock run`: it needs no set-up.
#[derive(Parser)]
#[command(name = "paddock", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Every flag can also be set by the environment variable beside it, and every secret by a file named in \
                        <VARIABLE>_FILE. An empty variable counts as unset.\nCommands that call a server take its URL and the key from flags, else from \
                        variables, else from the context of --context or PADDOCK_CONTEXT, else from the current context of `paddock login`.\nExit codes: 0 success, 1 failure, 2 invalid configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(commands::run::Run),
    Api(commands::api::Api),
    Operator(commands::operator::Operator),
    Migrate(commands::migrate::Migrate),
    Seed(commands::seed::Seed),
    /// Print the CustomResourceDefinitions, for `kubectl apply -f -`
    Crds,
    /// Print the OpenAPI 3.1 document
    Openapi,
    Config(commands::config::Config),
    Login(commands::login::Login),
    Logout(commands::logout::Logout),
    Context(commands::context::Context),
    Connect(commands::connect::Connect),
    User(commands::user::User),
    Key(commands::key::Key),
    Usage(commands::usage::Usage),
    Audit(commands::audit::Audit),
    Healthcheck(commands::healthcheck::Healthcheck),
}

fn main() -> ExitCode {
    // For a panic of this thread.
    let _no_line_lost = scopeguard::guard((), |()| logging::stop_buffering());
    match command_line().and_then(|(cli, matches)| dispatch(cli.command, &matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a command prints its error here")]
            {
                eprintln!("paddock: {error}");
            }
            error.exit_code()
        }
    }
}

fn command_line() -> Result<(Cli, clap::ArgMatches), Error> {
    let matches = env::parse_command_line(Cli::command())?;
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => Ok((cli, matches)),
        Err(error) => error.exit(),
    }
}

fn dispatch(command: Command, matches: &clap::ArgMatches) -> Result<(), Error> {
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
        Command::Login(command) => block_on(command.execute()),
        Command::Logout(command) => block_on(command.execute()),
        Command::Context(command) => command.execute(),
        Command::Connect(command) => block_on(command.execute()),
        Command::User(command) => block_on(command.execute()),
        Command::Key(command) => block_on(command.execute()),
        Command::Usage(command) => block_on(command.execute()),
        Command::Audit(command) => block_on(command.execute()),
        Command::Healthcheck(command) => block_on(command.execute()),
    }
}

fn block_on(command: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let result = command.await;
        otlp::flush().await;
        result
    });
    // Blocking threads, such as a password hash, do not delay the exit.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    // Before the error is printed, so that it is the last line.
    logging::stop_buffering();
    result
}
