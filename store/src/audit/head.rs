//! The head of the audit chain.

use std::{fmt, str::FromStr};

/// A row of the chain, identified by its position and hash. As text: `<position> <hash>`.
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
        let parse = || {
            let (position, hash) = text.trim().split_once(' ')?;
            let position = position.parse().ok().filter(|position| *position > 0)?;
            let is_sha256 = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_sha256.then(|| Self { position, hash: hash.to_owned() })
        };
        parse().ok_or_else(|| "is no head of an audit log, which is a line `<position> <hash>`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_display_and_parsing() {
        let head = Head { position: 7, hash: "0f".repeat(32) };
        assert_eq!(format!("{head}\n").parse(), Ok(head));
    }

    #[test]
    fn malformed_heads_are_rejected() {
        let hash = "0f".repeat(32);
        for text in ["", "7", "7 abc", &format!("0 {hash}"), &format!("-1 {hash}"), &format!("7 {hash} x"), &hash] {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
        assert!(format!("7 {}", "0F".repeat(32)).parse::<Head>().is_err());
    }
}
