use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;

const ADA: Requester = interactive(1);
const BOB: Requester = interactive(2);
const NIGHT: Requester = Requester { user: UserId(3), priority: Priority::Batch };

const fn interactive(user: i64) -> Requester {
    Requester { user: UserId(user), priority: Priority::Interactive }
}

fn queue(max: usize, size: usize) -> Arc<RequestQueue> {
    let timeout = Duration::from_mins(1);
    RequestQueue::new(QueueLimits { max_concurrent_per_model: Some(max), size, timeout })
}

fn model() -> ModelName {
    ModelName::parse("m").unwrap()
}

/// Runs requests of these users and tokens one after the other, and returns the users in the
/// order in which they run. The first one runs while the others arrive.
async fn order(requests: &[(Requester, u64)]) -> Vec<Requester> {
    let (queue, model) = (queue(1, 100), model());
    let (sender, mut began) = tokio::sync::mpsc::unbounded_channel();
    let mut first = None;
    for &(user, tokens) in requests {
        let mut acquiring = Box::pin({
            let (queue, model) = (Arc::clone(&queue), model.clone());
            async move { queue.acquire(&model, user, tokens).await }
        });
        if let Some(permit) = acquiring.as_mut().now_or_never() {
            first = permit.unwrap();
            continue;
        }
        let sender = sender.clone();
        tokio::spawn(async move {
            let permit = acquiring.await.unwrap();
            sender.send(user).unwrap();
            drop(permit);
        });
    }
    drop((first, sender));
    let mut users = vec![requests[0].0];
    while let Some(user) = began.recv().await {
        users.push(user);
    }
    assert!(queue.state.lock().models.is_empty());
    assert_eq!(queue.state.lock().waiting.total(), 0);
    users
}

#[tokio::test]
async fn a_single_request_waits_for_one_turn() {
    let mut requests = vec![(ADA, 10); 20];
    requests.push((BOB, 1000));
    let users = order(&requests).await;
    assert_eq!(users[..3], [ADA, BOB, ADA]);
    assert_eq!(users.len(), 21);
}

#[tokio::test]
async fn users_share_the_model_by_tokens() {
    // Bob's requests are three times as large, so Ada's run three times as often.
    let requests = [[(ADA, 10); 12].as_slice(), &[(BOB, 30); 4]].concat();
    let users = order(&requests).await;
    for turns in users.chunks(4) {
        assert_eq!(turns.iter().filter(|user| **user == BOB).count(), 1, "{users:?}");
    }
}

#[tokio::test]
async fn a_request_that_leaves_frees_its_place() {
    let (queue, model) = (queue(1, 1), model());
    let running = queue.acquire(&model, ADA, 1).await.unwrap();
    let mut waiting = Box::pin(queue.acquire(&model, ADA, 1));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(queue.acquire(&model, BOB, 1).await.err(), Some(QueueError::Full));
    drop(waiting);
    let mut waiting = Box::pin(queue.acquire(&model, BOB, 1));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(running);
    assert!(waiting.await.unwrap().is_some());
    assert!(queue.state.lock().models.is_empty());
}

#[tokio::test]
async fn a_wait_ends_with_the_timeout() {
    let timeout = Duration::from_millis(1);
    let queue = RequestQueue::new(QueueLimits { max_concurrent_per_model: Some(1), size: 9, timeout });
    let model = model();
    let _running = queue.acquire(&model, ADA, 1).await.unwrap();
    assert_eq!(queue.acquire(&model, BOB, 1).await.err(), Some(QueueError::Timeout));
    assert_eq!(queue.state.lock().waiting.total(), 0);
}

#[tokio::test]
async fn a_settled_request_counts_with_its_tokens() {
    let (queue, model) = (queue(2, 9), model());
    let mut of_ada = queue.acquire(&model, ADA, 1000).await.unwrap();
    let _of_bob = queue.acquire(&model, BOB, 100).await.unwrap();
    let mut second = Box::pin(queue.acquire(&model, BOB, 1));
    assert!(second.as_mut().now_or_never().is_none());
    let mut third = Box::pin(queue.acquire(&model, ADA, 1));
    assert!(third.as_mut().now_or_never().is_none());
    // Ada's request used few tokens, so that Ada is ahead of Bob.
    of_ada.as_mut().unwrap().settle(1);
    drop(of_ada);
    let _of_ada = third.now_or_never().expect("a place");
    assert!(second.as_mut().now_or_never().is_none());
}

#[tokio::test]
async fn interactive_requests_begin_first_and_batch_gets_every_fifth_turn() {
    let requests = [[(ADA, 10)].as_slice(), &[(NIGHT, 10); 4], &[(ADA, 10); 10]].concat();
    let users = order(&requests).await;
    let expected = [[ADA; 5].as_slice(), &[NIGHT], &[ADA; 4], &[NIGHT], &[ADA; 2], &[NIGHT; 2]].concat();
    assert_eq!(users, expected);
}

#[tokio::test]
async fn a_full_queue_displaces_the_youngest_batch_request() {
    let (queue, model) = (queue(1, 2), model());
    let running = queue.acquire(&model, ADA, 1).await.unwrap();
    let mut older = Box::pin(queue.acquire(&model, NIGHT, 1));
    assert!(older.as_mut().now_or_never().is_none());
    let mut younger = Box::pin(queue.acquire(&model, NIGHT, 1));
    assert!(younger.as_mut().now_or_never().is_none());
    assert_eq!(queue.acquire(&model, NIGHT, 1).await.err(), Some(QueueError::Full));
    let mut of_bob = Box::pin(queue.acquire(&model, BOB, 1));
    assert!(of_bob.as_mut().now_or_never().is_none());
    assert_eq!(younger.await.err(), Some(QueueError::Full));
    drop(running);
    drop(of_bob.now_or_never().expect("a place"));
    drop(older.now_or_never().expect("a place"));
    assert!(queue.state.lock().models.is_empty());
    assert_eq!(queue.state.lock().waiting.total(), 0);
}

/// Ada asks for a very long answer, begins a small request meanwhile, and gives the long one up.
#[tokio::test]
async fn a_request_that_announces_many_tokens_does_not_delay_other_users() {
    let (queue, model) = (queue(2, 9), model());
    let mut long = queue.acquire(&model, ADA, 1 << 40).await.unwrap();
    let small = queue.acquire(&model, ADA, 1).await.unwrap();
    let mut of_ada = Box::pin(queue.acquire(&model, ADA, 1));
    assert!(of_ada.as_mut().now_or_never().is_none());
    let mut of_bob = Box::pin(queue.acquire(&model, BOB, 1000));
    assert!(of_bob.as_mut().now_or_never().is_none());
    long.as_mut().unwrap().settle(1);
    drop(long);
    drop(small);
    assert!(of_bob.now_or_never().is_some());
    assert!(of_ada.now_or_never().is_some());
}

/// A user whose request runs for long does not save up the time that others use meanwhile.
#[tokio::test]
async fn a_user_with_a_running_request_joins_like_others() {
    let (queue, model) = (queue(2, 9), model());
    let _long = queue.acquire(&model, BOB, 1).await.unwrap();
    for _ in 0..9 {
        let running = queue.acquire(&model, ADA, 100).await.unwrap();
        let mut next = Box::pin(queue.acquire(&model, ADA, 100));
        assert!(next.as_mut().now_or_never().is_none());
        drop(running);
        drop(next.now_or_never().expect("a place"));
    }
    let running = queue.acquire(&model, ADA, 100).await.unwrap();
    let mut waiting = Vec::new();
    for user in [ADA, ADA, BOB, BOB, BOB] {
        let mut request = Box::pin(queue.acquire(&model, user, 100));
        assert!(request.as_mut().now_or_never().is_none());
        waiting.push((user, request));
    }
    drop(running);
    let mut began = Vec::new();
    for _ in 0..5 {
        let at = (0..waiting.len()).find(|&at| {
            let ready = waiting[at].1.as_mut().now_or_never();
            ready.is_some()
        });
        began.push(waiting.remove(at.expect("a request begins")).0);
    }
    assert_ne!(began[..3], [BOB; 3]);
}

#[tokio::test]
async fn a_full_queue_has_room_for_a_user_with_fewer_requests() {
    let (queue, model) = (queue(1, 3), model());
    let running = queue.acquire(&model, ADA, 1).await.unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(queue.acquire(&model, ADA, 1))).collect();
    assert!(waiting.iter_mut().all(|request| request.as_mut().now_or_never().is_none()));
    assert_eq!(queue.acquire(&model, ADA, 1).await.err(), Some(QueueError::Full));
    let mut of_bob = Box::pin(queue.acquire(&model, BOB, 1));
    assert!(of_bob.as_mut().now_or_never().is_none());
    assert_eq!(waiting.pop().unwrap().await.err(), Some(QueueError::Full));
    // Both have one or two now, so that neither displaces the other.
    assert_eq!(queue.acquire(&model, BOB, 1).await.err(), Some(QueueError::Full));
    drop((waiting, of_bob, running));
    assert_eq!(queue.state.lock().waiting.total(), 0);
}
