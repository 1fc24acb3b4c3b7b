use proptest::prelude::*;

use super::*;

fn layer(digest: &str, completed: u64, total: u64) -> PullEvent {
    PullEvent::Layer { digest: digest.to_owned(), completed, total }
}

#[test]
fn a_pull_is_summed_over_its_layers_and_ends_at_success() {
    let mut pull = PullProgress::default();
    pull.update(&PullEvent::Status("pulling manifest".to_owned()));
    assert_eq!(pull.progress(), Progress::default());
    pull.update(&layer("sha256:a", 50, 100));
    assert_eq!(pull.progress(), Progress { percent: 50, completed_bytes: 50, total_bytes: 100 });
    // A new layer makes the whole larger; what was said stands.
    assert_eq!(pull.update(&layer("sha256:b", 0, 100)).percent, 50);
    pull.update(&layer("sha256:a", 100, 100));
    pull.update(&layer("sha256:b", 100, 100));
    assert_eq!(pull.progress(), Progress { percent: 99, completed_bytes: 200, total_bytes: 200 });
    assert_eq!(pull.update(&PullEvent::Success), Progress { percent: 100, completed_bytes: 200, total_bytes: 200 });
}

#[test]
fn a_second_attempt_goes_on_from_the_first() {
    let first = Progress { percent: 70, completed_bytes: 70, total_bytes: 100 };
    let mut pull = PullProgress::resume(first);
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
    fn no_figure_ever_goes_backwards(events in events()) {
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
