//! Which backend has seen the beginning of a prompt lately, and so may still have it in its cache.
//!
//! A prompt is known by the prefixes of its beginnings, of which the next turn of the conversation has
//! the same ones. The prefixes are keyed with a secret of this process, the user and the model. So one
//! user's requests have no influence on where those of another go, and tell nothing about them.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher as _},
};

use paddock_accounts::UserId;
use paddock_ollama::ModelName;
use parking_lot::Mutex;

/// The lengths of the hashed beginnings, in bytes: two for each power of two. So at least two thirds
/// of what two prompts have in common are found, and no more than 64 KiB are hashed.
const LENGTHS: [usize; 23] = [
    32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768,
    49152, 65536,
];
const LONGEST: usize = LENGTHS[LENGTHS.len() - 1];

/// How many prefixes a backend remembers: 32,768, in 256 KiB. They are kept in sets, of which each
/// forgets the hash that was used longest ago.
const SETS: usize = 4096;
const WAYS: usize = 8;

/// The unit of [`SeenPrompts::share`]: the whole prompt.
pub(super) const WHOLE: usize = 1000;

/// Hashes prompts with a secret of this process.
#[derive(Default)]
pub(super) struct PromptHasher(RandomState);

/// The beginnings of one prompt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PromptPrefix {
    /// One hash for each of the first [`LENGTHS`], as far as the prompt reaches.
    prefixes: Vec<u64>,
    /// The length of the prompt in bytes, at most [`LONGEST`].
    length: usize,
}

/// The beginnings of the prompts that one backend has seen lately.
#[derive(Default)]
pub(super) struct SeenPrompts(Mutex<Vec<[u64; WAYS]>>);

impl PromptHasher {
    /// Hashes the beginnings of a prompt, whose text is in these parts.
    pub(super) fn prefix<'a>(
        &self,
        user: UserId,
        model: &ModelName,
        parts: impl Iterator<Item = &'a str>,
    ) -> PromptPrefix {
        let mut hasher = self.0.build_hasher();
        hasher.write_i64(user.0);
        hasher.write(model.as_str().as_bytes());
        hasher.write_u8(0xff);
        let (mut prefixes, mut length) = (Vec::with_capacity(LENGTHS.len()), 0);
        for part in parts {
            let mut rest = part.as_bytes();
            while let Some(end) = LENGTHS.get(prefixes.len()) {
                let Some((before, after)) = rest.split_at_checked(end - length) else { break };
                hasher.write(before);
                prefixes.push(hasher.finish());
                (rest, length) = (after, *end);
            }
            if length == LONGEST {
                break;
            }
            hasher.write(rest);
            length += rest.len();
        }
        PromptPrefix { prefixes, length }
    }
}

impl SeenPrompts {
    /// Returns how much of the prompt the backend has seen, in thousandths.
    pub(super) fn share(&self, prompt: &PromptPrefix) -> usize {
        let sets = self.0.lock();
        if sets.is_empty() {
            return 0;
        }
        let is_seen = |hash: &u64| sets[set_of(*hash)].contains(hash);
        let seen = prompt.prefixes.iter().rposition(is_seen);
        seen.map_or(0, |longest| LENGTHS[longest] * WHOLE / prompt.length)
    }

    /// Remembers the beginnings of a prompt that the backend gets.
    pub(super) fn record(&self, prompt: &PromptPrefix) {
        let mut sets = self.0.lock();
        if sets.is_empty() {
            sets.resize(SETS, [0; WAYS]);
        }
        for hash in &prompt.prefixes {
            let set = &mut sets[set_of(*hash)];
            let place = set.iter().position(|other| other == hash).unwrap_or(WAYS - 1);
            set[..=place].rotate_right(1);
            set[0] = *hash;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is less than the number of sets")]
const fn set_of(hash: u64) -> usize {
    (hash % SETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    fn prefix(hasher: &PromptHasher, user: UserId, model: &str, text: &str) -> PromptPrefix {
        hasher.prefix(user, &ModelName::parse(model).unwrap(), [text].into_iter())
    }

    #[test]
    fn the_next_turn_begins_with_the_turn_before() {
        let (hasher, seen) = (PromptHasher::default(), SeenPrompts::default());
        let text = "a text of a conversation".repeat(40);
        seen.record(&prefix(&hasher, ADA, "m", &text[..500]));
        // 384 of the 500 bytes are found.
        assert_eq!(seen.share(&prefix(&hasher, ADA, "m", &text[..600])), 384 * WHOLE / 600);
        assert_eq!(seen.share(&prefix(&hasher, ADA, "m", &text[1..600])), 0);
    }

    #[test]
    fn users_and_models_share_no_hash() {
        let hasher = PromptHasher::default();
        let text = "the same prompt of two users".repeat(10);
        let of_ada = prefix(&hasher, ADA, "m", &text);
        assert_eq!(of_ada, prefix(&hasher, ADA, "m", &text));
        for other in [
            prefix(&hasher, BOB, "m", &text),
            prefix(&hasher, ADA, "n", &text),
            prefix(&PromptHasher::default(), ADA, "m", &text),
        ] {
            assert!(of_ada.prefixes.iter().all(|hash| !other.prefixes.contains(hash)));
        }
    }

    #[test]
    fn it_does_not_matter_how_a_prompt_is_parted() {
        let (hasher, model) = (PromptHasher::default(), ModelName::parse("m").unwrap());
        let text = "x".repeat(100_000);
        let parts = [&text[..10], &text[10..48], &text[48..50_000], &text[50_000..]];
        let parted = hasher.prefix(ADA, &model, parts.into_iter());
        assert_eq!(parted, prefix(&hasher, ADA, "m", &text));
        assert_eq!((parted.prefixes.len(), parted.length), (LENGTHS.len(), LONGEST));
    }

    #[test]
    fn what_was_used_longest_ago_is_forgotten() {
        let seen = SeenPrompts::default();
        let prompt = |hash| PromptPrefix { prefixes: vec![hash], length: 32 };
        let in_one_set = |n: u64| prompt(1 + n * SETS as u64);
        for n in 0..WAYS as u64 {
            seen.record(&in_one_set(n));
        }
        seen.record(&in_one_set(0));
        seen.record(&in_one_set(99));
        assert_eq!([0, 1, 2, 99].map(|n| seen.share(&in_one_set(n))), [WHOLE, 0, WHOLE, WHOLE]);
    }
}
