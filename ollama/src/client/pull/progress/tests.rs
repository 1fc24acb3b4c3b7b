use proptest::prelude::*;

use super::*;

fn layer(digest: &str, completed: u64, total: u64) -> PullEvent {
    PullEvent::Layer { digest: digest.to_owned(), completed, total }
}

#[test]
fn status_events_do_not_change_the_progress() {
    let mut pull = PullProgress::default();
    assert_eq!(pull.update(&PullEvent::Status("pulling manifest".to_owned())), Progress::default());
}

#[test]
fn progress_is_the_sum_over_the_layers() {
    let mut pull = PullProgress::default();
    pull.update(&layer("sha256:a", 50, 100));
    assert_eq!(pull.progress(), Progress { percent: 50, completed_bytes: 50, total_bytes: 100 });
    pull.update(&layer("sha256:b", 0, 100));
    pull.update(&layer("sha256:a", 100, 100));
    pull.update(&layer("sha256:b", 100, 100));
    assert_eq!((pull.progress().completed_bytes, pull.progress().total_bytes), (200, 200));
}

#[test]
fn a_new_layer_does_not_lower_the_percentage() {
    let mut pull = PullProgress::default();
    pull.update(&layer("sha256:a", 50, 100));
    assert_eq!(pull.update(&layer("sha256:b", 0, 100)).percent, 50);
}

#[test]
fn only_success_is_100_percent() {
    let mut pull = PullProgress::default();
    assert_eq!(pull.update(&layer("sha256:a", 200, 200)).percent, 99);
    assert_eq!(pull.update(&PullEvent::Success), Progress { percent: 100, completed_bytes: 200, total_bytes: 200 });
}

#[test]
fn a_second_attempt_continues_from_the_first() {
    let mut pull = PullProgress::default();
    let first = pull.update(&layer("sha256:a", 70, 100));
    assert_eq!(first, Progress { percent: 70, completed_bytes: 70, total_bytes: 100 });
    assert_eq!(pull.update(&layer("sha256:a", 10, 100)), first);
    assert_eq!(pull.update(&layer("sha256:a", 80, 100)).percent, 80);
}

fn events() -> impl Strategy<Value = Vec<PullEvent>> {
    let event = prop_oneof![
        1 => Just(PullEvent::Status("verifying sha256 digest".to_owned())),
        1 => Just(PullEvent::Success),
        9 => ("[abc]", any::<u64>(), any::<u64>()).prop_map(|(digest, completed, total)| layer(&digest, completed, total)),
        9 => ("[abc]", 0_u64..100, 0_u64..100).prop_map(|(digest, completed, total)| layer(&digest, completed, total)),
    ];
    proptest::collection::vec(event, 0..40)
}

proptest! {
    #[test]
    fn no_figure_ever_decreases(events in events()) {
        let mut pull = PullProgress::default();
        let mut before = pull.progress();
        let mut succeeded = false;
        for event in events {
            succeeded |= event == PullEvent::Success;
            let now = pull.update(&event);
            prop_assert!(now.percent >= before.percent);
            prop_assert!(now.completed_bytes >= before.completed_bytes);
            prop_assert!(now.total_bytes >= before.total_bytes);
            prop_assert!(now.completed_bytes <= now.total_bytes);
            prop_assert_eq!(now.percent == 100, succeeded);
            before = now;
        }
    }
}
