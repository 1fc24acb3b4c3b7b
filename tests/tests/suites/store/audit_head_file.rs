//! The head file, which keeps the end of the audit log outside of the database.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use paddock_accounts::{types::Email, users::NewUser};
use paddock_store::audit::{AuditFilter, AuditRow, Head, KnownHead, VerifyError};
use paddock_tests::{database::Engine, reaper, story::story};
use rstest::rstest;

use super::{
    StoreFixture,
    cancelled_writes::{MAX_STEPS, Moment, steps},
    context, open_with,
};

/// Deletes the newest row and adjusts the head in the database, so that the database does not show
/// the cut.
const CUT: &str = "DELETE FROM audit_logs WHERE id = (SELECT max(id) FROM audit_logs); \
                   UPDATE audit_head SET position = (SELECT max(id) FROM audit_logs), \
                   hash = (SELECT hash FROM audit_logs ORDER BY id DESC LIMIT 1)";

/// Accounts with this head file.
async fn with_head_file(engine: Engine, file: &Path) -> Result<StoreFixture> {
    open_with(engine, |options| options.audit_head_file = Some(file.to_owned())).await
}

/// The head in the file.
fn known(file: &Path) -> Result<KnownHead> {
    let head = fs::read_to_string(file)?.parse::<Head>().map_err(anyhow::Error::msg)?;
    Ok(KnownHead { source: file.display().to_string(), head })
}

/// The head of the log in the database.
async fn newest(store: &StoreFixture) -> Result<Head> {
    let row = store.accounts.audit().list(&AuditFilter::default(), 1, AuditRow::owned).await?.pop().context("a row")?;
    Ok(Head { position: row.id, hash: row.hash })
}

fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_file_has_every_commit_once_the_accounts_are_closed(#[case] engine: Engine) {
    story(async {
        const HEAD: &str = "SELECT position, hash FROM audit_head";
        let here = context();
        for count in 0..MAX_STEPS {
            let folder = reaper::scratch_dir("heads")?;
            let file = folder.path().join("head");
            let store = with_head_file(engine, &file).await?;
            store.user("ada@example.com", &[]).await?;
            let bob = NewUser::new(Email::parse("bob@example.com")?);
            let done = steps(store.accounts.users().create(&here, bob), count, Moment::Asked).await;
            store.accounts.close().await;
            // Read at once, because a process would end here.
            let kept = known(&file)?.head;
            let (position, hash) = store.database.rows(HEAD).await?.pop().context("one row")?;
            let present = Head { position, hash };
            ensure!(kept == present, "cancelled after {count} steps: the file has {kept:?}, the database {present:?}");
            if done.transpose()?.is_some() {
                return Ok(());
            }
        }
        bail!("it did not end in {MAX_STEPS} steps")
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_with_an_adjusted_head_is_found_by_the_file(#[case] engine: Engine) {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("head");
        let store = with_head_file(engine, &file).await?;
        store.user("ada@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?, "the file has the row of a created user");
        let earlier = known(&file)?;
        for name in ["bob", "cyd"] {
            store.user(&format!("{name}@example.com"), &[]).await?;
        }
        let present = known(&file)?;
        ensure!(present.head == newest(&store).await? && present.head.position == 3, "{present:?}");
        ensure!(names(folder.path())? == [file.clone()], "another file is left");

        let verify = async |heads: &[KnownHead]| store.accounts.audit().verify(heads, |_| ()).await;
        let whole = verify(&[earlier.clone(), present.clone()]).await?.expect("it is whole");
        ensure!(whole.beyond == Some(0), "{whole:?}");
        let whole = verify(std::slice::from_ref(&earlier)).await?.expect("it is whole");
        ensure!(whole.beyond == Some(2), "two valid rows came after it: {whole:?}");
        ensure!(verify(&[]).await?.expect("it is whole").beyond.is_none());

        store.database.execute(CUT).await?;
        ensure!(verify(&[]).await?.is_ok(), "the database shows the cut");
        ensure!(verify(std::slice::from_ref(&earlier)).await?.is_ok(), "an earlier head shows the cut");
        let cut = VerifyError::CutBefore { found: 2, expected: 3, source_name: present.source.clone() };
        ensure!(verify(&[earlier, present.clone()]).await? == Err(cut));

        // With the key, the log can be continued from there, but not with the row that the file
        // names.
        let store = store.reopen(|_| ()).await?;
        store.user("eve@example.com", &[]).await?;
        let verdict = store.accounts.audit().verify(std::slice::from_ref(&present), |_| ()).await?;
        ensure!(verdict == Err(VerifyError::Rewritten { position: 3, source_name: present.source }), "{verdict:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_file_follows_the_log_over_restarts_and_never_goes_back(#[case] engine: Engine) {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("head");
        let store = with_head_file(engine, &file).await?;
        store.user("ada@example.com", &[]).await?;
        store.user("bob@example.com", &[]).await?;
        let follow = |options: &mut paddock_store::OpenOptions| options.audit_head_file = Some(file.clone());
        let store = store.reopen(follow).await?;
        store.user("cyd@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?);

        // The database is reset to an earlier state. The file proves it and must not change.
        let ahead = fs::read_to_string(&file)?;
        store.database.execute(CUT).await?;
        let store = store.reopen(follow).await?;
        for name in ["dan", "eve", "fay"] {
            store.user(&format!("{name}@example.com"), &[]).await?;
        }
        ensure!(fs::read_to_string(&file)? == ahead, "the proof was overwritten");
        // An administrator moves the file away after the incident.
        fs::rename(&file, folder.path().join("evidence"))?;
        store.user("gil@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_blocks_no_change() {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("not yet").join("head");
        let store = with_head_file(Engine::Sqlite, &file).await?;
        store.user("ada@example.com", &[]).await?;
        ensure!(!file.exists());
        fs::create_dir(folder.path().join("not yet"))?;
        store.user("bob@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?, "the next change does not write the file");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_other_content_is_not_overwritten() {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("notes");
        for (text, is_overwritten) in [("buy milk\n", false), ("\u{0}\u{1}", false), ("", true)] {
            fs::write(&file, text)?;
            let store = with_head_file(Engine::Sqlite, &file).await?;
            store.user("ada@example.com", &[]).await?;
            ensure!((fs::read_to_string(&file)? != text) == is_overwritten, "{text:?}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_never_behind_a_completed_change(#[case] engine: Engine) {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("head");
        let store = with_head_file(engine, &file).await?;
        let writers = (0..40).map(|i| {
            let store = &store;
            let file = &file;
            async move {
                let user = store.user(&format!("u{i}@example.com"), &[]).await?;
                let about = AuditFilter { user_id: Some(user.id), ..AuditFilter::default() };
                let row = store.accounts.audit().list(&about, 1, AuditRow::owned).await?.pop().context("its row")?;
                ensure!(known(file)?.head.position >= row.id, "the file is behind an answer");
                Ok(())
            }
        });
        futures_util::future::try_join_all(writers).await?;
        let head = newest(&store).await?;
        ensure!(head.position == 40 && known(&file)?.head == head);
        Ok(())
    })
    .await;
}
