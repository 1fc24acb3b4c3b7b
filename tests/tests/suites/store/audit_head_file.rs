//! The end of the audit log, kept outside of the database.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use paddock_accounts::audit::{AuditFilter, AuditRow, Broken, Head, KnownHead};
use paddock_accounts::email::Email;
use paddock_accounts::users::NewUser;
use paddock_tests::database::Engine;
use paddock_tests::reaper;
use paddock_tests::story::story;
use rstest::rstest;

use super::cancelled_writes::{MANY, Moment, steps};
use super::{StoreFixture, context, open_with};

/// The newest row with the database's own word of it, so that nothing in the database tells of the cut.
const CUT: &str = "DELETE FROM audit_logs WHERE id = (SELECT max(id) FROM audit_logs); \
                   UPDATE audit_head SET position = (SELECT max(id) FROM audit_logs), \
                   hash = (SELECT hash FROM audit_logs ORDER BY id DESC LIMIT 1)";

async fn following(engine: Engine, file: &Path) -> Result<StoreFixture> {
    open_with(engine, |options| options.audit_head_file = Some(file.to_owned())).await
}

fn known(file: &Path) -> Result<KnownHead> {
    let head = fs::read_to_string(file)?.parse::<Head>().map_err(anyhow::Error::msg)?;
    Ok(KnownHead { source: file.display().to_string(), head })
}

async fn newest(store: &StoreFixture) -> Result<Head> {
    let row = store.accounts.audit(&AuditFilter::default(), 1, AuditRow::owned).await?.pop().context("a row")?;
    Ok(Head { position: row.id, hash: row.hash })
}

fn names(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_committed_is_in_the_file_once_the_store_is_closed(#[case] engine: Engine) {
    story(async {
        const PRESENT: &str = "SELECT position, hash FROM audit_head";
        let here = context();
        for count in 0..MANY {
            let folder = reaper::scratch_dir("heads")?;
            let file = folder.path().join("head");
            let store = following(engine, &file).await?;
            store.user("ada@example.com", &[]).await?;
            let bob = NewUser::new(Email::parse("bob@example.com")?);
            let done = steps(store.accounts.create_user(&here, bob), count, Moment::Asked).await;
            store.accounts.close().await;
            // At once: a process would end here.
            let kept = known(&file)?.head;
            let (position, hash) = store.database.rows(PRESENT).await?.pop().context("one row")?;
            let present = Head { position, hash };
            ensure!(kept == present, "given up after {count} steps: {kept:?} is kept, {present:?} is there");
            if done.transpose()?.is_some() {
                return Ok(());
            }
        }
        bail!("it did not end in {MANY} steps")
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_takes_the_head_of_the_database_along_is_found_by_the_file(#[case] engine: Engine) {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("head");
        let store = following(engine, &file).await?;
        store.user("ada@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?, "the file has the first row when its user is there");
        let earlier = known(&file)?;
        for name in ["bob", "cyd"] {
            store.user(&format!("{name}@example.com"), &[]).await?;
        }
        let present = known(&file)?;
        ensure!(present.head == newest(&store).await? && present.head.position == 3, "{present:?}");
        ensure!(names(folder.path())? == [file.clone()], "nothing else is left there");

        let verify = async |heads: &[KnownHead]| store.accounts.verify_audit_against(heads, |_| ()).await;
        let whole = verify(&[earlier.clone(), present.clone()]).await?.expect("it is whole");
        ensure!(whole.beyond == Some(0), "{whole:?}");
        let whole = verify(std::slice::from_ref(&earlier)).await?.expect("it is whole");
        ensure!(whole.beyond == Some(2), "two valid rows came after it: {whole:?}");
        ensure!(verify(&[]).await?.expect("it is whole").beyond.is_none());

        store.database.execute(CUT).await?;
        ensure!(verify(&[]).await?.is_ok(), "nothing in the database tells of it");
        ensure!(verify(std::slice::from_ref(&earlier)).await?.is_ok(), "nor does a head from before");
        let cut = Broken::CutBefore { found: 2, expected: 3, source_name: present.source.clone() };
        ensure!(verify(&[earlier, present.clone()]).await? == Err(cut));

        // Whoever has the key can write it anew from there: but not the row that the file names.
        let store = store.reopen(|_| ()).await?;
        store.user("eve@example.com", &[]).await?;
        let verdict = store.accounts.verify_audit_against(std::slice::from_ref(&present), |_| ()).await?;
        ensure!(verdict == Err(Broken::Rewritten { position: 3, source_name: present.source }), "{verdict:?}");
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn the_file_goes_on_over_processes_and_never_back(#[case] engine: Engine) {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("head");
        let store = following(engine, &file).await?;
        store.user("ada@example.com", &[]).await?;
        store.user("bob@example.com", &[]).await?;
        let follow = |options: &mut paddock_accounts::OpenOptions| options.audit_head_file = Some(file.clone());
        let store = store.reopen(follow).await?;
        store.user("cyd@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?);

        // The database is put back to an earlier state; the file is what proves it, so it stays as it is.
        let ahead = fs::read_to_string(&file)?;
        store.database.execute(CUT).await?;
        let store = store.reopen(follow).await?;
        for name in ["dan", "eve", "fay"] {
            store.user(&format!("{name}@example.com"), &[]).await?;
        }
        ensure!(fs::read_to_string(&file)? == ahead, "the proof was written over");
        // Whoever has settled that moves it away.
        fs::rename(&file, folder.path().join("evidence"))?;
        store.user("gil@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_holds_nothing_up() {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("not yet").join("head");
        let store = following(Engine::Sqlite, &file).await?;
        store.user("ada@example.com", &[]).await?;
        ensure!(!file.exists());
        fs::create_dir(folder.path().join("not yet"))?;
        store.user("bob@example.com", &[]).await?;
        ensure!(known(&file)?.head == newest(&store).await?, "it is tried again at the next change");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_something_else_is_left_alone() {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("notes");
        for (text, taken) in [("buy milk\n", false), ("\u{0}\u{1}", false), ("", true)] {
            fs::write(&file, text)?;
            let store = following(Engine::Sqlite, &file).await?;
            store.user("ada@example.com", &[]).await?;
            ensure!((fs::read_to_string(&file)? != text) == taken, "{text:?}");
        }
        Ok(())
    })
    .await;
}

#[rstest]
#[case::postgres(Engine::Postgres)]
#[case::sqlite(Engine::Sqlite)]
#[tokio::test(flavor = "multi_thread")]
async fn many_writers_leave_the_newest_head(#[case] engine: Engine) {
    story(async {
        let folder = reaper::scratch_dir("heads")?;
        let file = folder.path().join("head");
        let store = following(engine, &file).await?;
        let writers = (0..40).map(|i| {
            let store = &store;
            let file = &file;
            async move {
                let user = store.user(&format!("u{i}@example.com"), &[]).await?;
                let about = AuditFilter { user_id: Some(user.id), ..AuditFilter::default() };
                let row = store.accounts.audit(&about, 1, AuditRow::owned).await?.pop().context("its row")?;
                // Whoever has the answer may rely on the file.
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
