//! The head of the audit chain.

use std::{fmt, str::FromStr};

/// A row of the chain, by its position and its hash. As text: `<position> <hash>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The position, from 1; 0 before the first row.
    pub position: i64,
    /// The hash of the row; empty before the first row.
    pub hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.position, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (position, hash) = text.trim().split_once(' ')?;
            let position = position.parse().ok().filter(|position| *position > 0)?;
            let whole = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            whole.then(|| Self { position, hash: hash.to_owned() })
        };
        read().ok_or_else(|| "is no head of an audit log, which is a line `<position> <hash>`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let head = Head { position: 7, hash: "0f".repeat(32) };
        assert_eq!(format!("{head}\n").parse(), Ok(head));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let hash = "0f".repeat(32);
        for text in ["", "7", "7 abc", &format!("0 {hash}"), &format!("-1 {hash}"), &format!("7 {hash} x"), &hash] {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
        assert!(format!("7 {}", "0F".repeat(32)).parse::<Head>().is_err());
    }
}
