//! Formats an error together with its sources.

use std::{error::Error, iter};

/// Joins an error and its sources by colons, outermost first. A source whose text already ends the
/// text before it is left out, because many libraries repeat it.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let sources = iter::successors(error.source(), |&source| source.source());
    let mut texts: Vec<String> = iter::once(error.to_string()).chain(sources.map(ToString::to_string)).collect();
    texts.dedup_by(|source, before| before.ends_with(source.as_str()));
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Self>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    #[test]
    fn a_repeated_source_is_printed_once() {
        let disk = Layer("the disk is gone", None);
        let read = Layer("cannot read it: the disk is gone", Some(Box::new(disk)));
        let start = Layer("no luck", Some(Box::new(read)));
        assert_eq!(error_chain(&start), "no luck: cannot read it: the disk is gone");
    }
}
