//! A container as `OpenShift` runs it: any user id with group 0, no entry in the list of accounts, no
//! home folder, and a root folder that cannot be written.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use paddock_tests::{
    fake_ollama::FakeOllama,
    paddock::executable,
    process::{Process, Signal, free_port},
    reaper,
    story::story,
    testbed::{Missing, Part},
};
use tempfile::TempDir;

use super::{STRONG_SECRET, assert_refused};

/// A user id without an account.
const USER: &str = "1000620000";
/// Makes the root folder read-only except for the volume `$1`, and runs the rest as that user.
const SETUP: &str = r#"mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,bind,ro / && cd / && shift &&
    exec setpriv --reuid "$0" --regid 0 --clear-groups "$@""#;

/// A container with one volume, which holds the executable.
struct Container {
    volume: TempDir,
}

impl Container {
    /// Errors: [`Missing`], when this process may not build one.
    fn new() -> Result<Self> {
        let volume = reaper::scratch_dir("volume")?;
        fs::set_permissions(volume.path(), Permissions::from_mode(0o771))?;
        let container = Self { volume };
        if !container.command(Path::new("true")).output().is_ok_and(|output| output.status.success()) {
            return Err(Missing(Part::Container).into());
        }
        fs::copy(executable()?, container.executable())?;
        Ok(container)
    }

    fn executable(&self) -> std::path::PathBuf {
        self.volume.path().join("paddock")
    }

    /// A command in it, with `PATH` only.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SETUP, USER]).arg(self.volume.path()).arg(program).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }

    fn paddock(&self, verb: &str) -> Command {
        let mut command = self.command(&self.executable());
        command.arg(verb);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_all_that_an_unknown_user_needs() {
    story(async {
        let container = Container::new()?;
        let ollama = FakeOllama::start(&["smollm2:135m"]).await?;
        let data = container.volume.path().join("paddock.db").display().to_string();
        let mut command = container.paddock("run");
        command.env("ENVIRONMENT", "prod").env("DATABASE_URL", format!("sqlite:{data}"));
        command.env("JWT_SECRET", STRONG_SECRET).env("AUDIT_SIGNING_KEY", STRONG_SECRET);
        command.env("LISTEN_ADDR", format!("127.0.0.1:{}", free_port()?)).env("OLLAMA_BASE_URL", ollama.url());
        command.env("METRICS_ADDR", format!("127.0.0.1:{}", free_port()?)).env("DRAIN_TIMEOUT", "1s");
        let process = Process::start("paddock", command, Signal::Term)?;
        process
            .wait_until_ready(Duration::from_mins(1), async || {
                let output = process.log().text();
                ensure!(output.contains("Try it:"), "the table is not complete");
                Ok(())
            })
            .await?;
        let owner = fs::metadata(&data)?;
        ensure!(std::os::unix::fs::MetadataExt::uid(&owner).to_string() == USER);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_named_with_the_volume_to_mount() {
    story(async {
        let container = Container::new()?;
        // Without any setting: in the root folder.
        let output = container.paddock("migrate").output()?;
        assert_refused(&output, 1, &["paddock.db", "; / is read-only", "mount a volume", USER])?;
        // A folder of another user.
        let foreign = container.volume.path().join("foreign");
        fs::create_dir(&foreign)?;
        fs::set_permissions(&foreign, Permissions::from_mode(0o755))?;
        let folder = foreign.display().to_string();
        let output =
            container.paddock("migrate").env("DATABASE_URL", format!("sqlite:{folder}/paddock.db")).output()?;
        assert_refused(&output, 1, &[&folder, "mode 755", "mount a volume", USER])?;
        // Usage records beside PostgreSQL have a folder too.
        let url = format!("sqlite:{}", container.volume.path().join("paddock.db").display());
        let mut command = container.paddock("run");
        command.env("DATABASE_URL", url).env("USAGE_SPOOL_DIR", "/var/lib/paddock/usage");
        command.env("LISTEN_ADDR", "127.0.0.1:0").env("METRICS_ADDR", "127.0.0.1:0").env("LOG_LEVEL", "error");
        assert_refused(&command.output()?, 1, &["USAGE_SPOOL_DIR /var/lib/paddock/usage", "mount a volume"])
            .context("the folder of usage records")
    })
    .await;
}
